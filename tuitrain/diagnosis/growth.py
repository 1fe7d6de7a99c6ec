"""The earliest sign: recurrent weights that have grown until a gradient can explode on its way back through time.

Judged by the spectral radius of the candidate block: of runs that end well it stays below 20 for hundreds of thousands
of steps, those that collapse by themselves go through 30 thousands of steps before their first spike.
"""

from collections import deque

from tuitrain.diagnosis.detector import Finding
from tuitrain.telemetry.units import number

LARGE = 30.0
AGAIN = 1.5
"""It is told again when it has grown by this factor since."""
LEAST = 0.01
"""Relative growth in 1,000 steps below which it no longer counts as growing."""
APART, SPAN = 100, 2000
"""Steps between remembered values at least, and over which the pace is measured."""


class Growth:
    """Takes the largest radius of any layer, as often as the probe gives one."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, float]] = deque(maxlen=SPAN // APART + 1)
        self._told = 0.0

    def back_to(self, step: int) -> None:
        """A rollback: what came after is another branch."""
        while self._known and self._known[-1][0] > step:
            self._known.pop()

    def take(self, step: int, radius: float) -> Finding | None:
        """One probe's."""
        if not self._known or step >= self._known[-1][0] + APART:
            self._known.append((step, radius))
        then, low = next((s, r) for s, r in self._known if s >= step - SPAN)
        threshold = max(LARGE, AGAIN * self._told)
        if not radius >= threshold or step - then < SPAN // 4:
            return None
        pace = (radius - low) / (step - then) * 1000
        if pace < LEAST * radius:
            return None
        self._told = radius
        return Finding(
            False, "growth", step, then, radius, threshold,
            f"the recurrent weights grow: they could make a gradient {number(radius, 2)} times as large with each step "
            f"back through time ({number(low, 2)} at step {then:,}; at this pace {number(radius + 10 * pace, 2)} in "
            "10,000 steps); single gradients may explode, so clip at a few medians, land, or lower the learning rate")
