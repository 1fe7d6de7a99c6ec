"""What the picker says of a restore point: which steps are left, of which branch, and which are returned to."""

import pytest

from tests.telemetry.test_lineage import THREE, after
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import sentence
from tuitrain.telemetry.story import Point
from tuitrain.ui.dialogs import Present


def point(branch: int, step: int) -> Point:
    return Point("s1", branch, step, False, "interval", 0.0, 1.0, None, 0.1, 1.0, 9)


@pytest.mark.parametrize(("branch", "step", "words"), [
    (2, 90, "leaves 10 steps of branch 2 as a ghost; undo returns to them"),
    (1, 70, "leaves 30 steps of branches 1 to 2 as a ghost; undo returns to them"),
    (0, 40, "leaves 60 steps of branches 0 to 2 as a ghost; undo returns to them"),
    (1, 140, "leaves 20 steps of branch 2, returns to 60 steps of branch 1; undo comes back"),
    (0, 51, "leaves 50 steps of branches 1 to 2, returns to 1 step of branch 0; undo comes back"),
    (2, 100, "leaves no step behind")])
def test_what_is_left_and_what_is_returned_to_is_said(branch: int, step: int, words: str) -> None:
    present = Present(100, 0.0, 0.1, 1.0, lineage=after(*THREE))
    assert present.leaving(point(branch, step)) == words


def test_nothing_is_left_right_after_a_rollback() -> None:
    present = Present(80, 0.0, 0.1, 1.0, lineage=after(*THREE[:4]))
    assert present.leaving(point(1, 140)) == "returns to 60 steps of branch 1, leaves no step behind"
    assert present.leaving(point(1, 80)) == "leaves no step behind"


def test_a_rollback_to_another_branch_names_it() -> None:
    across = e.RolledBack(from_branch=2, from_step=690, to_step=700, branch=3, id="", by="", asked=None, point="s3",
                          knobs={"lr": 0.1, "clip": 1.0}, parent=1)
    assert sentence(across).startswith("over from step 690 to 700 of branch 1: branch 3")
    state = RunState()
    state.fold(across, 1.0)
    assert state.story.marks[-1].act == "RolledBack"
