"""Seconds that a piece of work beside training takes, from how long the last pieces took."""

from collections import deque
from typing import Final

REMEMBERED: Final = 16
"""Pieces that count: the load of a machine changes."""


class Pace:
    """Estimates the time of pieces of work from those before."""

    def __init__(self) -> None:
        self._took: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def took(self, seconds: float, count: int) -> None:
        """Add a measurement: `count` units of work took so many seconds."""
        self._took.append((seconds, count))

    def seconds(self, count: int) -> float:
        """Return the estimated seconds of `count` units of work; 0 before the first measurement."""
        done = sum(units for _, units in self._took)
        return count * sum(seconds for seconds, _ in self._took) / done if done else 0.0
