"""When the loop's own functions, snapshots and checkpoints are due."""

from tuitrain.watching.asides import Interval


def test_steps_are_due_at_each_multiple_if_asked_at_each_step() -> None:
    interval = Interval(5, "every")
    assert [step for step in range(1, 17) if interval.due(step)] == [5, 10, 15]


def test_steps_are_due_once_a_multiple_was_passed_if_asked_now_and_then() -> None:
    interval = Interval(100, "every")
    assert [step for step in range(3, 700, 46) if interval.due(step)] == [141, 233, 325, 417, 509, 601]


def test_nothing_is_due_at_once_after_a_resume_or_a_rollback() -> None:
    interval = Interval(100, "every")
    assert not interval.due(5_001)
    assert interval.due(5_105) and not interval.due(4_950) and interval.due(5_002)
