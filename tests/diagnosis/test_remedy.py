"""The remedy: before the first spike of this trouble, from a point that was well, at a quarter of the smaller rate."""

from dataclasses import replace
from typing import Any

import pytest

from tuitrain.diagnosis.remedy import BEFORE, LR_FACTORS, SKIPPED, Place, Remedy, remedy
from tuitrain.telemetry.story import Point

POINT = Point("s1", 0, 0, False, "interval", 0.0, 1.0, None, 0.003, 0.0, 1000)


def points(*steps: int, broken: tuple[int, ...] = ()) -> list[Point]:
    return [replace(POINT, name=f"s{step}", step=step, healthy=step not in broken) for step in steps]


def found(cause: str = "lr_too_high", onset: int = 5000, spikes: tuple[Place, ...] = (), **how: Any) -> Remedy:
    how = {"clip": 0.0, "advised": (0.9, 0.2), **how}
    got = remedy(cause, (1, onset), spikes, lambda branch, step: branch == 1 or step <= 1000, **how)
    assert got is not None
    return got


@pytest.mark.parametrize(("spikes", "onset"), [
    ((), 5000), (((1, 4200),), 4200), (((1, 4200), (1, 3000)), 3000), (((1, 900),), 5000), (((0, 4200),), 5000),
    (((1, 5010),), 5000)])
def test_it_goes_to_before_the_first_spike_of_this_trouble_on_this_line(spikes: tuple[tuple[int, int], ...],
                                                                        onset: int) -> None:
    assert (found(spikes=spikes).onset, found(spikes=spikes).to) == (onset, onset - BEFORE)


def test_a_spike_of_the_branch_that_this_one_came_from_counts() -> None:
    assert found(onset=1500, spikes=((0, 950),)).onset == 950


def test_the_newest_point_that_was_well_is_chosen() -> None:
    taken = found().point(points(100, 4000, 4700, 4890, 4950, 5100, broken=(4890,)))
    assert taken is not None and taken.step == 4700
    near = found().point(points(4950, 4990, 5100, broken=(4990,)))
    assert near is not None and near.step == 4950, "younger than it should be, but from before"
    assert found().point(points(4990, 5100, broken=(4990,))) is None


def test_the_rate_is_a_quarter_of_the_smaller_one_and_less_at_each_try() -> None:
    assert found().lr(0.003, 0.5) == 0.003 / 4 and found().lr(0.003, 0.001) == 0.001 / 4
    assert [found(tried=i).lr_factor for i in range(3)] == list(LR_FACTORS)
    assert found(tried=2).to < found(tried=1).to < found().to


@pytest.mark.parametrize(("clip", "advised", "new"), [
    (0.0, (0.9, 0.2), 0.9), (5.0, (0.9, 0.2), 0.9), (0.5, (0.9, 0.2), None), (0.05, (0.9, 0.2), 0.9),
    (0.0, None, None)])
def test_the_clip_is_the_advised_one_unless_it_is_tighter_and_of_use(clip: float, advised: tuple[float, float] | None,
                                                                    new: float | None) -> None:
    assert found(clip=clip, advised=advised).clip == new


def test_a_text_that_changed_is_left_out_wherever_it_goes_on() -> None:
    got = found("bad_data")
    assert (got.lr_factor, got.clip) == (None, None) and got.lr(0.1, 0.2) == 0.2
    assert got.skipped(4000) == 1000 + SKIPPED and got.skipped(4900) == 100 + SKIPPED


@pytest.mark.parametrize("cause", ["plateau", "vanishing"])
def test_larger_steps_are_not_answered_by_smaller_ones(cause: str) -> None:
    assert remedy(cause, (0, 500), (), lambda branch, step: True, clip=0.0, advised=None) is None
