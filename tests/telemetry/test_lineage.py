"""The line that led here: one definition, folded from events, of newer journals and of older ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.telemetry.test_telemetry import done
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints
from tuitrain.telemetry.lineage import MOST, Lineage, Segment, branch_on_disk


def back(to: int, branch: int, parent: int | None, point: str = "s1") -> e.RolledBack:
    return e.RolledBack(from_branch=0, from_step=0, to_step=to, branch=branch, id="", by="", asked=None, knobs={},
                        point=point, parent=parent)


def undone(branch: int, step: int, parent: int | None = None) -> e.Undone:
    return e.Undone(id="", by="", what="", branch=branch, step=step, knobs={}, parent=parent)


def after(*events: e.Event) -> Lineage:
    lineage = Lineage()
    for event in events:
        lineage.fold(event)
    return lineage


THREE = (done(1, [1.0] * 100), back(50, 1, 0), done(51, [1.0] * 100, 1), back(80, 2, 1), done(81, [1.0] * 20, 2))
"""Branch 1 leaves 0 at 50 and comes to 150; branch 2 leaves 1 at 80 and comes to 100."""


def test_a_line_is_the_steps_of_each_branch_up_to_where_the_next_one_began() -> None:
    line = after(*THREE)
    assert line.path() == (Segment(0, 1, 50, None), Segment(1, 51, 80, 0), Segment(2, 81, 100, 1))
    assert [line.holds(0, 50), line.holds(0, 51), line.holds(1, 80), line.holds(1, 81), line.holds(2, 90),
            line.holds(3, 1)] == [True, False, True, False, True, False]
    assert line.shared((1, 150), (2, 100)) == 80 and line.shared((0, 100), (2, 100)) == 50


def test_a_rollback_across_branches_returns_to_the_steps_that_were_left() -> None:
    line = after(*THREE)
    assert line.fold(back(140, 3, 1)) == (1, 140)
    assert line.path() == (Segment(0, 1, 50, None), Segment(1, 51, 140, 0), Segment(3, 141, 140, 1))
    assert line.holds(1, 140) and not line.holds(2, 90)
    assert line.fold(undone(2, 100)) == (2, 100)
    assert line.path() == after(*THREE).path()


@pytest.mark.parametrize(("event", "origin"), [
    (undone(2, 100), None), (undone(3, 60, parent=1), (1, 60)),
    (back(30, 3, None), (0, 30)), (back(70, 3, None), (1, 70)), (back(90, 3, None, "b2-s90"), (2, 90)),
    (back(120, 3, None, "b1-s120"), (1, 120)), (undone(1, 150), (1, 150)), (undone(4, 95), (2, 95)),
    (done(96, [1.0] * 3, 7), (2, 95))])
def test_what_older_versions_did_not_say_is_derived(event: e.Event, origin: tuple[int, int] | None) -> None:
    line = after(*THREE)
    assert line.fold(event, branch_on_disk) == origin


def test_it_travels_and_stays_bounded() -> None:
    line = after(*THREE)
    wired = Lineage.from_wire(json.loads(json.dumps(line.to_wire())))
    assert wired == line
    for branch in range(3, 2 * MOST):
        line.fold(back(90, branch, 2))
    assert len(line.forks) == MOST and line.path()[:2] == (Segment(0, 1, 50, None), Segment(1, 51, 80, 0))


@given(st.lists(st.tuples(st.integers(-2, 6), st.integers(-2, 6), st.integers(-5, 50)), max_size=12))
def test_no_wire_makes_a_path_without_an_end(forks: list[tuple[int, int, int]]) -> None:
    line = Lineage.from_wire({"branch": 1, "step": 9, "forks": [list(x) for x in forks]})
    assert len(line.path()) <= len(forks) + 1


def test_the_branch_is_in_the_name_that_a_checkpoint_is_saved_under() -> None:
    assert branch_on_disk(checkpoints.name_of(3, 140)) == 3 == branch_on_disk(checkpoints.name_of(3, 140, 2))
    assert branch_on_disk("b2-s140") == 2 and branch_on_disk("s7") is None
