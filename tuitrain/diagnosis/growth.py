"""The earliest sign: recurrent weights so large that a gradient can explode on its way back through time.

Judged by the spectral radius of the candidate block: in healthy runs it stays below 20 for hundreds of thousands of
steps; runs that collapse by themselves pass 30 thousands of steps before their first spike.
"""

from collections import deque

from tuitrain.diagnosis.detector import Finding
from tuitrain.telemetry.units import number
from tuitrain.troubles import GROWTH

LARGE = 30.0
AGAIN = 1.5
"""Factor of further growth at which the warning is repeated."""
LEAST = 0.01
"""Relative growth per 1,000 steps below which the radius does not count as growing."""
APART, SPAN = 100, 2000
"""Minimum steps between stored values, and the steps over which the pace is measured."""


class Growth:
    """Follows the largest spectral radius of any layer, as measured by the probe."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, float]] = deque(maxlen=SPAN // APART + 1)
        self._reported = 0.0

    def back_to(self, step: int) -> None:
        """Discard the values after a step, after a rollback to it."""
        while self._known and self._known[-1][0] > step:
            self._known.pop()

    def take(self, step: int, radius: float) -> Finding | None:
        """Add the radius of one probe; return a warning if it is due."""
        if not self._known or step >= self._known[-1][0] + APART:
            self._known.append((step, radius))
        then, low = next((s, r) for s, r in self._known if s >= step - SPAN)
        threshold = max(LARGE, AGAIN * self._reported)
        if not radius >= threshold or step - then < SPAN // 4:
            return None
        pace = (radius - low) / (step - then) * 1000
        if pace < LEAST * radius:
            return None
        self._reported = radius
        return Finding(
            GROWTH, step, then, radius, threshold,
            f"the recurrent weights grow: they could make a gradient {number(radius, 2)} times as large with each step "
            f"back through time ({number(low, 2)} at step {then:,}; at this pace {number(radius + 10 * pace, 2)} in "
            "10,000 steps); single gradients may explode, so clip at a few medians, land, or lower the learning rate")
