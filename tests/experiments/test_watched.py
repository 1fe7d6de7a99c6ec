"""The bench's row of what watching costs: pairs of windows of a bare loop and the same loop watched."""

import pytest

from tuitrain.experiments.watched import MODELS, Cost, Times, loop, measure


def test_the_ratio_is_the_median_of_the_pairs_with_its_quartiles() -> None:
    pairs = tuple((Times(2.0, 1.0), Times(2.0 * ratio, 1.5)) for ratio in (1.0, 1.1, 1.2, 1.3, 9.0))
    cost = Cost("mlp", True, 10, pairs)
    low, middle, high = cost.ratio("wall")
    assert middle == pytest.approx(1.2) and 1.0 <= low < middle < high
    assert cost.ratio("cpu") == pytest.approx((1.5, 1.5, 1.5))
    assert cost.step == Times(2.0, 1.0)


@pytest.mark.parametrize("kind", MODELS)
def test_both_loops_are_the_same_loop(kind: str) -> None:
    one, other = loop(kind, 2, True), loop(kind, 2, True)
    for each in (one, other):
        each.run(2)
    assert all((a == b).all() for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.slow
def test_a_process_of_its_own_measures_a_pair() -> None:
    cost = measure("mlp", clips=True, pairs=2, seconds=0.01)
    assert len(cost.pairs) == 2 and cost.parameters == 74_497
    assert all(times.cpu > 0 for pair in cost.pairs for times in pair)
