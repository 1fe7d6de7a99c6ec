"""Every ring of numbers by step reaches those who attach, and follows a rollback and an undo."""

import json

import numpy as np
import pytest

from tests.telemetry.test_lines import KNOBS, back
from tests.telemetry.test_telemetry import done, started
from tuitrain.protocol import events as e
from tuitrain.telemetry.line import LEFT_RECENT, RINGS
from tuitrain.telemetry.run_state import RunState


@pytest.fixture
def trained() -> RunState:
    """A run of 40 steps."""
    state = started()
    for first in (1, 11, 21, 31):
        state.fold(done(first, [3.0 - first / 100] * 10))
    return state


def values(state: RunState, name: str) -> list[float]:
    return [float(v) for v in state.lines.present.ring(name).last()]


def test_the_rings_are_those_that_the_panes_draw() -> None:
    assert set(RINGS) >= {"loss", "grad_norm", "clipped"}


@pytest.mark.parametrize("name", RINGS)
def test_a_ring_has_a_number_for_each_step(trained: RunState, name: str) -> None:
    assert len(values(trained, name)) == 40


@pytest.mark.parametrize("name", RINGS)
def test_a_ring_reaches_those_who_attach(trained: RunState, name: str) -> None:
    attached = RunState.from_wire(json.loads(json.dumps(trained.to_wire())))
    assert values(attached, name) == pytest.approx(values(trained, name)) and len(values(attached, name)) == 40


@pytest.mark.parametrize("name", RINGS)
def test_a_ring_follows_a_rollback_and_its_undo(trained: RunState, name: str) -> None:
    before = values(trained, name)
    trained.fold(back(trained, 25, 0))
    assert values(trained, name) == before[:25]
    trained.fold(done(26, [1.5] * 5, branch=1))
    assert len(values(trained, name)) == 30
    trained.fold(e.Undone(branch=0, step=40, id="", by="you", knobs=KNOBS, what="rollback"))
    assert values(trained, name) == before


@pytest.mark.parametrize("name", RINGS)
def test_a_line_that_was_left_keeps_only_its_last_steps(trained: RunState, name: str) -> None:
    line = trained.lines.present
    line.go_on_after(0)
    line.ring(name).extend(np.zeros(2 * LEFT_RECENT))
    line.shorten()
    assert len(line.ring(name)) == LEFT_RECENT


@pytest.mark.parametrize("name", RINGS)
def test_lost_steps_leave_no_ring_behind(trained: RunState, name: str) -> None:
    trained.lines.present.go_on_after(60)
    assert values(trained, name) == []
