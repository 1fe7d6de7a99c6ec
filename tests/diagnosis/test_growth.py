"""Recurrent weights that grow: told thousands of steps ahead, quiet where they stop or stay small."""

import pytest

from tuitrain.diagnosis.detector import Finding
from tuitrain.diagnosis.growth import AGAIN, LARGE, Growth


def found(radii: list[float], every: int = 90, first: int = 90, growth: Growth | None = None) -> list[Finding]:
    growth = growth or Growth()
    told = [growth.take(first + i * every, radius) for i, radius in enumerate(radii)]
    return [x for x in told if x is not None]


def test_it_is_told_once_when_it_is_large_and_again_when_half_as_much_has_come() -> None:
    warnings = found([6.0 + 0.7 * i for i in range(100)])  # as in a natural collapse: 75 after 9,000 steps
    assert [x.rule.name for x in warnings] == ["growth"] * len(warnings) and not any(x.rule.alarm for x in warnings)
    assert warnings[0].value == pytest.approx(LARGE, abs=1) and warnings[1].value == pytest.approx(AGAIN * LARGE, abs=1)
    assert "in 10,000 steps" in warnings[0].sentence


@pytest.mark.parametrize("radii", [
    [8.0 + i**0.5 * 0.4 for i in range(500)],  # a healthy run: 17 after very many steps
    [50.0] * 100,  # large, but it has stopped
    [50.0 - 0.1 * i for i in range(100)]])
def test_it_is_quiet_where_nothing_grows_large(radii: list[float]) -> None:
    assert found(radii) == []


def test_a_rollback_forgets_the_branch_that_was_left() -> None:
    growth = Growth()
    found([10.0 + i * 0.1 for i in range(50)], growth=growth)
    growth.back_to(1000)
    assert found([28.0], first=1090, growth=growth) == []
    assert growth.take(1600, 31.0) is not None
