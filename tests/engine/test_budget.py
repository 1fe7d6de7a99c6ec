"""Minutes bind, whatever the machine does meanwhile."""

import random
from collections.abc import Callable

import pytest

from tuitrain.engine.budget import Budget


def run_for(seconds: float, step_seconds: Callable[[float], float], planned: int) -> tuple[float, int, int]:
    """Train by a made-up clock: seconds taken, steps done, corrections made."""
    now = [0.0]
    budget = Budget(seconds, lambda: now[0])
    budget.begin(0)
    step = corrections = 0
    while step < planned and not budget.spent:
        step += 1
        now[0] += step_seconds(now[0] / seconds)
        last = budget.last_step(step, planned)
        corrections += last != planned
        planned = last
    return now[0], step, corrections


SPEEDS: dict[str, Callable[[float], float]] = {
    "steady": lambda share: 0.02,
    "slow at first": lambda share: 0.2 if share < 0.1 else 0.02,
    "slow at the end": lambda share: 0.06 if share > 0.9 else 0.02,
    "fast at the end": lambda share: 0.005 if share > 0.8 else 0.02,
    "now and then": lambda share: 0.06 if int(share * 20) % 2 else 0.02,
    "slower and slower": lambda share: 0.02 * (1 + 3 * share),
}


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.parametrize("planned", [400, 6_000, 60_000])
def test_the_end_comes_when_it_was_asked_for(name: str, planned: int) -> None:
    taken, _, _ = run_for(120.0, SPEEDS[name], planned)
    assert taken == pytest.approx(120.0, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_restless_machine_is_no_excuse(seed: int) -> None:
    rng = random.Random(seed)
    loads = [rng.choice([1.0, 1.0, 2.0, 4.0]) for _ in range(20)]
    taken, _, corrections = run_for(120.0, lambda share: 0.02 * loads[min(19, int(share * 20))], 6000)
    assert taken == pytest.approx(120.0, rel=0.05)
    assert corrections <= 20


def test_a_steady_machine_needs_no_correction() -> None:
    taken, steps, corrections = run_for(120.0, SPEEDS["steady"], 6000)
    assert (steps, corrections) == (6000, 0) and taken == pytest.approx(120.0)


def test_a_pause_is_not_training() -> None:
    now = [0.0]
    budget = Budget(100.0, lambda: now[0])
    budget.begin(0)
    now[0] = 50.0
    budget.waited(40.0)
    now[0] = 110.0
    assert not budget.spent
    now[0] = 143.0
    assert budget.spent


@pytest.mark.parametrize(("start", "closing", "training"), [
    (20.0, 4.0, 95.0), (0.0, 0.0, 120.0), (200.0, 0.0, 60.0), (0.0, 500.0, 112.8), (200.0, 500.0, 52.8)])
def test_the_start_and_a_small_share_for_the_work_after_training_count(start: float, closing: float,
                                                                       training: float) -> None:
    now = [start]
    budget = Budget(120.0, lambda: now[0], began=0.0)
    budget.begin(0)
    budget.closing = closing
    step, planned = 0, 6000
    while step < planned and not budget.spent:
        step, now[0] = step + 1, now[0] + 0.02
        planned = budget.last_step(step, planned)
    assert now[0] - start == pytest.approx(training, rel=0.02)
    assert budget.until == pytest.approx(max(start - 60.0, 0.0) + 1.01 * 120.0)


def test_what_is_left_of_the_minutes_when_training_begins_and_a_long_start_counts_for_half() -> None:
    now = [100.0]
    budget = Budget(60.0, lambda: now[0], began=97.0)
    assert budget.left == 57.0
    now[0] = 1000.0
    assert budget.left == 30.0
