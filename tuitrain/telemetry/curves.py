"""The curves that a loop keeps itself, by name: their newest numbers. Bounded in names and in numbers."""

from typing import Any

import numpy as np

from tuitrain.protocol import events as e
from tuitrain.telemetry import wire
from tuitrain.telemetry.series import Ring

MOST, POINTS = 100, 120
"""Curves, and numbers of each."""


class Curves(dict[str, Ring]):
    """Folded by RunState."""

    def fold(self, event: e.Logged) -> None:
        """Append the numbers of an event, unless it would be one curve too many."""
        if event.values and (event.name in self or len(self) < MOST):
            self.setdefault(event.name, Ring(POINTS)).extend(np.array(event.values))

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: wire.to_wire([float(f"{v:.7g}") for v in ring.last()]) for name, ring in self.items()}

    @classmethod
    def from_wire(cls, told: Any) -> "Curves":
        """What `to_wire` told. Raises KeyError, TypeError or ValueError if it did not."""
        curves = cls()
        for name, values in list(dict(told).items())[:MOST]:
            curves[str(name)] = Ring(POINTS)
            curves[str(name)].extend(np.array(wire.from_wire(list[float], values[-POINTS:])))
        return curves
