"""The autopsy on the screen: checkpoints as they are examined, a cursor over them, beside the last healthy one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.autopsy.test_timeline import checkpoint
from tests.ui.script import until
from tuitrain.autopsy.cockpit.app import AutopsyApp, Perform
from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.inquest import Autopsy, Report, perform
from tuitrain.cli import screen as terminal
from tuitrain.cli.main import main
from tuitrain.errors import RunError
from tuitrain.ui.picture import Picture

Act = Callable[[AutopsyApp, Any], Awaitable[None]]


def drive(performed: Perform, act: Act, size: tuple[int, int] = (120, 40)) -> AutopsyApp:
    app = AutopsyApp("checkpoints", performed)

    async def sitting() -> None:
        async with app.run_test(size=size) as pilot:
            await act(app, pilot)

    asyncio.run(sitting())
    return app


def text(app: AutopsyApp, name: str) -> str:
    pane = app.query_one(f"#{name}", Picture)
    return "\n".join(pane.render_line(y).text for y in range(pane.content_size.height))


@pytest.fixture(scope="module")
def examined(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Autopsy:
    """The autopsy of the set that breaks, of a copy, because what is measured is kept beside it."""
    folder = tmp_path_factory.mktemp("looked") / "checkpoints"
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return perform(folder, trained.parent / "text.txt")


def told(found: Autopsy) -> Perform:
    """Return what reports a finished autopsy as one that is being made."""
    def performed(report: Report, take: Callable[[Examined], None]) -> Autopsy:
        for i, each in enumerate(found.checkpoints):
            report(i, len(found.checkpoints), each.name)
            take(each)
        return found

    return performed


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_cursor_begins_where_it_broke_and_the_samples_stand_side_by_side(
        examined: Autopsy, size: tuple[int, int]) -> None:
    async def act(app: AutopsyApp, pilot: Any) -> None:
        await until(lambda: app.exhibit.found is not None)
        await pilot.pause()
        assert "lm_240.pt" in text(app, "header") and "8 of 10" in text(app, "header")
        assert "240" in text(app, "header")
        numbers = text(app, "numbers")
        assert "last healthy" in numbers and "240" in numbers and "210" in numbers
        broken, healthy = text(app, "here"), text(app, "beside")
        assert broken != healthy and all(part.strip() for part in (broken, healthy))
        assert "lr too high" in text(app, "verdict") and "tuitrain adopt" in text(app, "verdict")
        assert "▲" in text(app, "losses")
        await pilot.press("[")
        assert "lm_210.pt" in text(app, "header")
        await pilot.press("full_stop", "right", "comma")
        assert app.exhibit.here is not None and app.exhibit.here.name == "lm_240.pt"
        await pilot.press("home", "left")
        assert app.exhibit.at == 0
        await pilot.press("end", "t", "]")
        assert app.exhibit.here.name == "lm_240.pt"

    drive(told(examined), act, size)


def test_a_large_screen_shows_the_inside_of_the_checkpoint_under_the_cursor(examined: Autopsy) -> None:
    async def act(app: AutopsyApp, pilot: Any) -> None:
        await until(lambda: app.exhibit.found is not None)
        await pilot.pause()
        broken = text(app, "inside")
        await pilot.press("[")
        assert "radius" in broken and "layer 1" in broken and text(app, "inside") != broken

    drive(told(examined), act, (200, 60))


def test_each_checkpoint_is_shown_as_it_is_examined_and_a_cursor_that_was_moved_stays(examined: Autopsy) -> None:
    go_on = threading.Event()

    def performed(report: Report, take: Callable[[Examined], None]) -> Autopsy:
        for i, each in enumerate(examined.checkpoints):
            report(i, 10, each.name)
            take(each)
            if i == 2:
                assert go_on.wait(60)
        return examined

    async def act(app: AutopsyApp, pilot: Any) -> None:
        await until(lambda: len(app.exhibit.checkpoints) == 3)
        await pilot.pause()
        assert "lm_90.pt" in text(app, "header") and "3 of 10" in text(app, "header")
        assert "examining" in text(app, "header") and "when all are examined" in text(app, "verdict")
        await pilot.press("]", "comma")
        go_on.set()
        await until(lambda: app.exhibit.found is not None)
        assert app.exhibit.here is not None and app.exhibit.here.name == "lm_60.pt"

    drive(performed, act)


def test_who_leaves_early_ends_the_examination_after_the_checkpoint(examined: Autopsy) -> None:
    begun, go_on, after = threading.Event(), threading.Event(), list[str]()

    def performed(report: Report, take: Callable[[Examined], None]) -> Autopsy:
        report(0, 10, "one")
        begun.set()
        assert go_on.wait(60)
        report(1, 10, "two")
        after.append("two")
        return examined

    async def act(app: AutopsyApp, pilot: Any) -> None:
        await until(begun.is_set)
        await pilot.press("q")
        go_on.set()

    app = drive(performed, act)
    assert not after and app.exhibit.found is None and app.failure is None


def test_weights_that_are_not_finite_and_a_folder_that_never_learned_are_shown(examined: Autopsy) -> None:
    odd = [checkpoint(1, None), checkpoint(2, 3.0)]

    def performed(report: Report, take: Callable[[Examined], None]) -> Autopsy:
        for each in odd:
            take(each)
        return replace(examined, checkpoints=tuple(odd), line=replace(examined.line, last_healthy=None,
                                                                      first_broken=0, best=None))

    async def act(app: AutopsyApp, pilot: Any) -> None:
        await until(lambda: app.exhibit.found is not None)
        await pilot.pause()
        assert "not finite" in text(app, "numbers") and "no sample" in text(app, "here")
        await pilot.press("[", "end", "home")

    drive(performed, act)


def test_on_a_terminal_autopsy_opens_the_screen_and_leaves_the_command_behind(
        examined: Autopsy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(app: AutopsyApp, **how: object) -> None:
        app.exhibit.conclude(app._perform(lambda done, of, name: None, lambda each: None))

    monkeypatch.setattr(terminal, "has_screen", lambda: True)
    monkeypatch.setattr(AutopsyApp, "run", run)
    monkeypatch.setattr("tuitrain.autopsy.inquest.perform", lambda *words, **more: examined)
    assert main(["autopsy", "somewhere", "--corpus", "text.txt"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == ["healthy until lm_210.pt; first broken lm_240.pt, 30 steps later", f"go on: {examined.command}"]


def test_what_cannot_be_examined_is_one_line_after_the_screen_has_closed(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(app: AutopsyApp, **how: object) -> None:
        app.failure = RunError("somewhere holds no checkpoints")

    monkeypatch.setattr(terminal, "has_screen", lambda: True)
    monkeypatch.setattr(AutopsyApp, "run", run)
    assert main(["autopsy", "somewhere"]) == 1
    assert capsys.readouterr().err == "tuitrain: somewhere holds no checkpoints\n"
