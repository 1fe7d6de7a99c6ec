"""The pane of the last probe: what it shows of each layer, and how the gradient's way back becomes bars."""

from typing import Any

from tests.builders import healthy
from tests.ui.ills import measured
from tests.ui.script import Script, drive, screen
from tuitrain.specs import cell
from tuitrain.telemetry import wire
from tuitrain.telemetry.health import Health
from tuitrain.telemetry.lineage import Lineage
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.groups import ASCII, BLOCKS
from tuitrain.ui.panes.inside import bars


def test_bars_rise_towards_the_last_step_and_never_leave_their_range() -> None:
    assert bars([-8.0, -4.0, 0.0], 40, ASCII) == "_+@"
    assert bars([-30.0, 5.0], 40, BLOCKS) == "▁█"
    assert len(bars([0.0] * 64, 20, BLOCKS)) == 20


def test_a_large_terminal_shows_what_the_probe_saw() -> None:
    shown: list[str] = []

    async def act(app: CockpitApp, pilot: Any) -> None:
        shown.append(screen(app))

    script = Script()
    script.say(*healthy(), *measured(600))
    drive(script, act, size=(200, 60))
    for words in ("layer 1", "i 40 %", "radius 2.1", "update 0.002", "worst 1.4"):
        assert words in shown[0], words


def test_one_who_attaches_late_sees_it_too() -> None:
    health, lineage = Health(), Lineage()
    for event in measured(600):
        health.fold(event, 0.0, lineage, cell({}))
    late = Health.from_wire(wire.to_wire(health))
    late.moved(lineage)
    assert late.probe == health.probe is not None and late.updates == health.updates != {}
