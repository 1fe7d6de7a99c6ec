"""Pictures of the cockpit in each of its states, compared with those that a person has looked at.

`pytest --snapshot-update` takes them anew; look at each of them before it is committed.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.builders import CLOCK, FACTS, healthy, sample, steps
from tests.ui.ills import ILLS, ill, well
from tests.ui.script import Script, settled
from tests.ui.test_race_screen import ended, race
from tuitrain.protocol import events as e
from tuitrain.ui.app import CockpitApp

KNOBS = {"lr": 0.0015, "clip": 1.0, "temperature": [0.5, 0.75, 1.0], "prompt": "random", "steps": 1000}
AFTER_ROLLBACK = [
    e.RolledBack(from_branch=0, from_step=600, to_step=300, branch=1, id="", by="guard", asked=None, knobs=KNOBS,
                 point="s7"),
    steps(301, 80, branch=1)]
MANY = [e.SnapshotTaken(branch=0, step=3 * i, id="", by="", reason="interval", pinned=False, bytes=3_450_000,
                        point=f"s{i}") for i in range(1, 201)]
USED = e.MachineUsed(memory=421_000_000, memory_total=25_000_000_000, gpu_load=87.0, gpu_temperature=61.0,
                     gpu_memory=3_100_000_000, gpu_memory_total=80_000_000_000)
BROKEN = e.StepSkipped(branch=0, step=600, onset=581, rule="non_finite", value=float("nan"), threshold=float("inf"),
                       count=20, streak=20, sentence="the loss was nan at step 581; 20 steps kept from the weights")


class TapedScript(Script):
    """A replay that stands still."""

    now, words = CLOCK, "×32 45%"

    def toggle(self) -> None: ...
    def faster(self, factor: float) -> None: ...
    def jump(self, share: float) -> None: ...
    def to_step(self, step: int) -> bool: return False
    def to_event(self, by: int) -> bool: return False


@dataclass(frozen=True)
class State:
    """What was said, which keys were pressed, how the screen is seen."""

    events: list[e.Event] = field(default_factory=healthy)
    keys: tuple[str, ...] = ()
    closed: bool = False
    connection: str = "live"
    braille: bool = True
    theme: str = "textual-dark"
    tape: bool = False


LEVELS = replace(healthy()[0], facts={**FACTS, "levels": {"letters alone": 4.48, "letter pairs": 3.52,
                                                          "letter triples": 2.97, "best possible": 1.75}})
SPIKE = [healthy()[0], *(steps(first, 100) for first in range(1, 1801, 100)), steps(1801, 42),
         steps(1843, 1, norm=16.0), steps(1844, 57), *(steps(first, 100) for first in range(1901, 7001, 100))]
"""One norm of 16 in 7,000 steps: what a person came to see."""
OFF = e.KnobChanged(branch=0, step=1640, name="clip", old=1.0, new=0.0, id="1", by="you")
STATES = {
    "starting": State([]),
    "first steps": State([*healthy()[:1], steps(1, 3)]),
    "healthy": State([*healthy(), USED]),
    "paused": State([*healthy(), e.Paused(branch=0, step=600, id="1", by="you")]),
    "clip typed": State(keys=("c", "ctrl+u", "0", ".", "3")),
    "asked": State(keys=("]", "minus")),
    "picker": State(keys=("r",)),
    "picker of 200": State([*healthy(), *MANY], keys=("r", "end")),
    "undo": State([*healthy(), e.KnobChanged(branch=0, step=600, name="clip", old=1.0, new=1.25, id="1", by="you")],
                  keys=("u",)),
    "leaving": State(keys=("q",)),
    "alarm": State([*healthy(), BROKEN, e.Paused(branch=0, step=600, id="1", by="guard")]),
    "after a rollback": State([*healthy(), *AFTER_ROLLBACK]),
    "help": State(keys=("question_mark",)),
    "saving failed": State([*healthy(), e.SavingFailed(branch=0, step=600, path="x", reason="disk full",
                                                       bytes_needed=3_450_000, bytes_free=0)]),
    "read-only": State(connection="read-only"),
    "replay": State(connection="replay", tape=True),
    "engine gone": State(closed=True),
    "ended": State([*healthy(), e.RunEnded(reason="finished", exit_code=0, branch=0, step=600)], closed=True),
    "light": State(theme="textual-light"),
    "ascii": State(braille=False),
    "reference lines": State([LEVELS, *healthy()[1:]]),
    "maximised": State(keys=("1", "z")),
    "spike": State(SPIKE),
    "why, well": State(well(), keys=("w",)),
    **{f"why, {name}": State(ill(name), keys=("w",)) for name in ILLS},
    "remedy": State([*ill("lr too high"), OFF], keys=("R",)),
    "picker, remedy": State([*ill("lr too high"), OFF], keys=("r",)),
    "inside": State(well(), keys=("8", "z")),
    "race asked": State(keys=("f",)),
    "race": State([*healthy(), *race()], keys=("f",)),
    "race ended": State([*healthy(), *ended()], keys=("f", "down")),
    "race behind": State([*healthy(), *race()]),
    "guard waits": State([*ill("explosion"), e.Paused(branch=0, step=1640, id="1", by="guard")]),
}
MAIN = ("race", "race ended", "race asked", "why, well", "why, explosion", "healthy", "picker", "after a rollback",
        "alarm", "help")

PICTURES = [(name, (120, 40)) for name in STATES] + [(name, size) for name in MAIN for size in ((80, 24), (200, 60))]
PICTURES.append(("guard waits", (200, 60)))


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """The log shows local times."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(("name", "size"), PICTURES, ids=lambda x: x if isinstance(x, str) else "x".join(map(str, x)))
def test_it_looks_as_it_did(name: str, size: tuple[int, int], snap_compare: Callable[..., bool],
                            monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, cells in zip(("COLUMNS", "LINES"), (size[0], size[1] + 1), strict=True):
        monkeypatch.setenv(variable, str(cells))  # plotext asks the terminal, which is the tests' own
    state = STATES[name]
    story = [replace(event, text=LONG, bits=tuple(float((i * 7) % 9) for i in range(len(LONG))))
             if isinstance(event, e.SamplePiece) else event for event in state.events]
    script = TapedScript(story) if state.tape else Script(story)
    script.connection, script.closed = state.connection, state.closed
    app = CockpitApp(Path("runs/harbour-1"), lambda: script, braille=state.braille, clock=lambda: CLOCK,
                     steady=lambda: 0.0)
    app.theme = state.theme  # before it runs: a theme changed later reaches each pane at its own time

    async def act(pilot: Any) -> None:
        if state.events:
            await settled(app, pilot)
        if state.keys:
            await pilot.press(*state.keys)
        for typed in app.screen.query(Input):
            typed.cursor_blink = False
        app.redraw_plots()
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=act)


LONG = sample("The harbour lay quiet that evening, and nobody spoke of the boats that had not come home.\n\n\"You will "
              "come,\" said the keeper, \"when the wind turns;\" and he went up the stair without a lamp, as he had "
              "done for forty years, counting the steps aloud.\n").text
