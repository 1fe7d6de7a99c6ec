"""How fast the newest steps were made. Knows no clock: the engine's own seconds count."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tuitrain.telemetry import wire

OVER = 10.0
"""Seconds over which the pace is measured."""
MOST = 1000
"""Drains that are remembered, whatever they say about their seconds."""


@dataclass(slots=True)
class Pace:
    """(seconds, steps) of the newest drains, about `OVER` seconds of them."""

    drains: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MOST))

    def learned(self, seconds: float, steps: int) -> None:
        """Take a drain in."""
        self.drains.append((seconds, steps))
        while len(self.drains) > 1 and sum(s for s, _ in self.drains) - self.drains[0][0] > OVER:
            self.drains.popleft()

    def clear(self) -> None:
        """Begin anew: what was measured was of another process or of other steps."""
        self.drains.clear()

    @property
    def steps_per_second(self) -> float:
        """0 before the first."""
        seconds = sum(s for s, _ in self.drains)
        return sum(n for _, n in self.drains) / seconds if seconds else 0.0

    def to_wire(self) -> list[Any]:
        """Plain JSON."""
        return list(wire.to_wire(self.drains))

    @classmethod
    def from_wire(cls, told: Any) -> "Pace":
        """What `to_wire` told. Raises TypeError or ValueError if it did not."""
        return cls(deque(wire.from_wire(list[tuple[float, int]], told), MOST))
