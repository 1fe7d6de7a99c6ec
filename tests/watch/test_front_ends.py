"""Every front end takes a script's run as it is: what it does not offer is dim, refused with a reason, or said."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from textual.widgets import Static

from tests.ui.script import Script, drive, screen
from tests.watch.loops import Loop, told
from tuitrain.cli.main import main
from tuitrain.protocol.capabilities import EVERYTHING, Capabilities
from tuitrain.protocol.commands import Stop
from tuitrain.protocol.events import RunEnded
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.app import CockpitApp


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mlp-1"
    loop = Loop(clip=None).watch(folder, total_steps=100, loss="squared error")
    loop.pilot.evaluate(lambda: 0.0012345, every=10)
    loop.run(30)
    loop.pilot.close()
    return folder


def test_headless_lines_show_the_loss_as_it_is_and_what_is_trained(
        run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--no-ui", str(run)]) == 0
    out = capsys.readouterr().out
    assert "Sequential" in out and "steps   Adam" in out and "to step 100" in out
    assert "validation 0.001234" in out or "validation 0.001235" in out
    assert "bpc" not in out and "tuitrain resume" not in out and "resume=True" in out


def test_the_cockpit_dims_the_keys_of_what_is_not_offered_and_says_why(run: Path) -> None:
    script = Script([event for event in told(run) if not isinstance(event, RunEnded)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        shown = screen(app)
        assert "Sequential · adam" in shown and "failed" not in shown
        for key in ("s", "c", "p", "right_square_bracket"):
            await pilot.press(key)
            assert "pilot." in app.view.refused or "no prompt" in app.view.refused, key
            assert not script.asked, f"{key} was sent all the same"
        await pilot.press("minus")
        assert len(script.asked) == 1 and not app.view.refused

    drive(script, act, size=(120, 40), run="runs/mlp-1")


def test_what_a_pane_cannot_show_of_a_script_it_says_and_no_word_is_about_text(run: Path) -> None:
    script = Script([event for event in told(run) if not isinstance(event, RunEnded)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        shown = " ".join(screen(app).split())
        assert "pilot.sample" in shown and "soon" not in shown and "temp" not in shown
        await pilot.press("8", "z")
        assert "cannot be looked into" in screen(app)
        await pilot.press("z", "question_mark")
        table = app.screen.query(Static)
        words = " ".join(text_of(part) for part in table)
        assert "in its own unit" in words and "not here: the script draws no samples" in words
        for word in ("character", "letter", "recurren", "bpc"):
            assert word not in words, word
        await pilot.press("escape", "w")
        why = text_of(app.screen.query_one("#why", Static))
        assert "too early" in why and "norms are those after" in why and "what the script minimises" in why
        assert "text" not in why and "character" not in why

    drive(script, act, size=(120, 40), run="runs/mlp-1")


def text_of(shown: Static) -> str:
    """What a widget shows, as one line."""
    console = Console(width=500, file=io.StringIO())
    console.print(shown.visual if not hasattr(shown, "content") else shown.content)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_machine_pane_and_a_small_screen_show_it_too(run: Path) -> None:
    script = Script(told(run))

    async def act(app: CockpitApp, pilot: Any) -> None:
        shown = screen(app)
        assert "parameters" in shown and "steps/s" in shown and "failed" not in shown

    drive(script, act, size=(180, 50), run="runs/mlp-1")
    drive(script, lambda app, pilot: _nothing(), size=(50, 12), run="runs/mlp-1")


async def _nothing() -> None:
    return None


def test_verify_and_the_table_of_runs_take_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0
    assert "no text" in capsys.readouterr().out
    assert main(["runs", str(run.parent)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert "finished" in row and "30" in row


@pytest.mark.parametrize("command", ["resume", "sample"])
def test_what_only_our_own_runs_can_do_names_the_script(
        command: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(run)]) == 1
    words = capsys.readouterr().err
    assert words.count("\n") == 1 and "resume=True" in words


def test_facts_without_capabilities_offer_everything_and_odd_ones_do_not_hurt() -> None:
    assert Capabilities.of({}) == EVERYTHING == Capabilities.of({"capabilities": {"commands": 3}})
    assert Capabilities.of(EVERYTHING.to_facts()) == EVERYTHING
    assert RunState().unit.short == "bpc"


def test_run_starts_a_script_in_a_folder_of_its_own_and_passes_its_exit_code_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "tiny.py"
    script.write_text("import sys, torch, tuitrain\nm = torch.nn.Linear(1, 1)\n"
                      "p = tuitrain.watch(m, torch.optim.SGD(m.parameters(), .1))\np.step(0.5)\n"
                      "sys.exit(int(sys.argv[2]))\n")
    assert main(["run", "--no-ui", str(script), "--code", "3"]) == 3
    assert [event.reason for event in told(tmp_path / "runs" / "tiny-1") if isinstance(event, RunEnded)] == [
        "ended by the script"]


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # it is left to itself, as it should be
def test_a_script_that_is_started_beside_the_cockpit_is_joined_once_it_watches(tmp_path: Path) -> None:
    import os
    import sys

    from tuitrain.cli.run import _join
    from tuitrain.errors import TuitrainError
    from tuitrain.run.directory import RunDirectory

    script = tmp_path / "tiny.py"
    script.write_text("import torch, tuitrain\nm = torch.nn.Linear(1, 1)\n"
                      "p = tuitrain.watch(m, torch.optim.SGD(m.parameters(), .1))\n"
                      "while p.step(m(torch.ones(1, 1)).sum()): pass\n")
    folder = RunDirectory(tmp_path / "r")
    environment = {**os.environ, "TUITRAIN_RUN": str(folder.path)}
    session = _join([sys.executable, str(script)], environment, folder)
    session.send(Stop(id="s", by="you"))
    events: list[Any] = []
    while not any(isinstance(event, RunEnded) for event in events):
        events += session.drain(1.0)
    session.close()
    script.write_text("raise SystemExit('no data')")
    with pytest.raises(TuitrainError, match="no data"):
        _join([sys.executable, str(script)], environment, RunDirectory(tmp_path / "other"))


def test_the_loss_pane_is_in_the_runs_unit_and_curves_of_ones_own_have_rows(tmp_path: Path) -> None:
    loop = Loop(clip=None).watch(tmp_path / "r", loss="squared error")
    for i in range(30):
        loop.step(accuracy=i / 40)
    loop.pilot.close()
    events = [event for event in told(tmp_path / "r") if not isinstance(event, RunEnded)]
    script = Script(events)

    async def act(app: CockpitApp, pilot: Any) -> None:
        shown = screen(app)
        titles = [str(pane.border_title) for pane in app.cockpit.panes()]
        assert any("loss · squared error" in title for title in titles), titles
        assert any("after your own clipping" in title for title in titles), titles
        assert "bpc" not in shown
        [row] = [line for line in shown.splitlines() if "accuracy" in line]
        assert "0.725" in row

    drive(script, act, size=(160, 50), run="runs/mlp-1")
    state = RunState()
    for event in events:
        state.fold(event)
    again = RunState.from_wire(state.to_wire())
    assert again.curves["accuracy"].last(1).tolist() == pytest.approx([0.725])
    assert again.unit.name == "squared error"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_loss_of_any_size_alarms_when_it_leaves_its_level_and_not_before(scale: float) -> None:
    import numpy as np

    from tuitrain.diagnosis.detector import Level
    from tuitrain.protocol.capabilities import LossUnit

    rng = np.random.default_rng(0)
    level = Level(carried=False, unit=LossUnit("mse", "", 1.0))
    losses = scale * (1 + 2 * np.exp(-np.arange(1500) / 200)) * rng.lognormal(0, 0.1, 1500)
    assert not [found for step, loss in enumerate(losses, 1) if (found := level.take(step, loss))]
    found = [found for step, loss in enumerate(losses[-200:] * 3, 1501) if (found := level.take(step, loss))]
    assert [f.rule.name for f in found if f.rule.alarm] == ["level"]
