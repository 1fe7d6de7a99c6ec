"""Runs on the screen: sorted, filtered, marked; curves and differences of those that are marked."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable, Static

from tests.comparing.test_compare import evaluated, make, sample
from tests.ui.script import until
from tuitrain.cli import screen as terminal
from tuitrain.cli.main import main
from tuitrain.comparing.records import read
from tuitrain.run.directory import RunDirectory
from tuitrain.ui.compare import app as compare
from tuitrain.ui.compare.app import CompareApp

Act = Callable[[CompareApp, Any], Awaitable[None]]


def drive(app: CompareApp, act: Act, size: tuple[int, int] = (120, 40)) -> None:
    async def sitting() -> None:
        async with app.run_test(size=size) as pilot:
            await act(app, pilot)

    asyncio.run(sitting())


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDirectory]:
    return [make(tmp_path, "one", evaluated(200, 2.25), sample("the quiet harbour"), hidden=32),
            make(tmp_path, "two", evaluated(200, 1.75), sample("every lantern"), hidden=64, loss=1.0),
            make(tmp_path, "three", evaluated(200, 3.5), hidden=64, loss=2.0)]


def names(app: CompareApp) -> list[str]:
    return [Path(str(key.value)).name for key in app.query_one(DataTable).rows]


async def all_read(app: CompareApp, pilot: Any) -> None:
    await until(lambda: len(app.records) + len(app.bad) == len(app._folders))
    await until(lambda: len(names(app)) > 0)
    await app.workers.wait_for_complete()
    await pilot.pause()


def detail(app: CompareApp) -> str:
    pane = app.query_one("#detail", Static)
    return "\n".join("".join(s.text for s in pane.render_line(y)) for y in range(pane.size.height))


def header(app: CompareApp) -> str:
    return app.query_one("#header", Static).render_line(0).text


def test_runs_are_sorted_and_filtered_by_what_is_typed(runs: list[RunDirectory]) -> None:
    async def act(app: CompareApp, pilot: Any) -> None:
        await all_read(app, pilot)
        assert names(app) == ["one", "two", "three"]
        await pilot.press("s", *"val", "enter")
        assert names(app) == ["two", "one", "three"]
        await pilot.press("r")
        assert names(app) == ["three", "one", "two"]
        await pilot.press("slash", *"hidden=64", "enter")
        assert names(app) == ["three", "two"]
        await pilot.pause()
        assert "2 of 3 runs" in header(app) and "sorted by -val" in header(app) and "hidden=64" in header(app)
        await pilot.press("slash", *"nothing=1", "enter", "escape")
        assert names(app) == ["three", "two"]

    drive(CompareApp(runs), act)


def test_marked_runs_are_drawn_with_the_one_under_the_cursor(runs: list[RunDirectory]) -> None:
    async def act(app: CompareApp, pilot: Any) -> None:
        await all_read(app, pilot)
        assert [Path(record.name).name for record in app.compared()] == ["one"]
        assert "quiet harbour" in detail(app) and "differences" not in detail(app)
        await pilot.press("space", "down")
        await pilot.pause()
        assert [Path(record.name).name for record in app.compared()] == ["one", "two"]
        assert "hidden" in detail(app) and "every lantern" in detail(app) and "over steps" in detail(app)
        await pilot.press("a")
        await pilot.pause()
        assert "over characters" in detail(app)
        await pilot.press("s", *"-val", "enter")  # the cursor stays on its run, the mark on the other
        assert [Path(record.name).name for record in app.compared()] == ["one", "two"]
        await pilot.press("up", "space")
        assert [Path(record.name).name for record in app.compared()] == ["one"] and not app.marked

    drive(CompareApp(runs), act)


def test_the_table_fills_while_runs_are_read_and_a_bad_one_hides_no_other(
        runs: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "PACE", 0.0)
    go_on = threading.Event()

    def slowly(folder: RunDirectory) -> Any:
        if folder.path.name == "three":
            assert go_on.wait(60)
        return read(folder)

    async def act(app: CompareApp, pilot: Any) -> None:
        await until(lambda: names(app) == ["one", "two"])
        await pilot.pause()
        assert "reading 3 of 4" in header(app)
        go_on.set()
        await all_read(app, pilot)
        assert names(app) == ["one", "two", "three"] and "1 unreadable" in header(app)

    drive(CompareApp([*runs[:2], RunDirectory(tmp_path / "nowhere"), runs[2]], reader=slowly), act)


def test_hundreds_of_runs(runs: list[RunDirectory]) -> None:
    from dataclasses import replace

    whole = read(runs[0])
    folders = [RunDirectory(Path(f"run-{i}")) for i in range(400)]

    def made(folder: RunDirectory) -> Any:
        assert not isinstance(whole, type(None))
        i = int(folder.path.name.rpartition("-")[2])
        return replace(whole, name=str(folder.path), numbers={**whole.numbers, "val": (i * 7919) % 400 / 100})  # type: ignore[union-attr, type-var]

    async def act(app: CompareApp, pilot: Any) -> None:
        await all_read(app, pilot)
        rows = names(app)
        values = [app.records[name].numbers["val"] for name in rows]
        assert len(rows) == 100 and values == sorted(values) and max(values) < 1

    drive(CompareApp(folders, where=["val<1"], sort="val", reader=made), act)


def test_on_a_terminal_compare_opens_the_screen(runs: list[RunDirectory], monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[CompareApp] = []
    monkeypatch.setattr(terminal, "has_screen", lambda: True)
    monkeypatch.setattr(CompareApp, "run", lambda app, **how: opened.append(app))
    assert main(["compare", *(str(run.path) for run in runs), "--sort", "val"]) == 0
    assert len(opened) == 1 and not capsys.readouterr().out
    assert main(["compare", str(runs[0].path), "--no-ui"]) == 0
    assert len(opened) == 1 and "one" in capsys.readouterr().out
