"""Validation losses of every branch, and the curve, the newest and the best of the present lineage."""

from dataclasses import dataclass, field
from typing import Any

from tuitrain.protocol import events as e
from tuitrain.protocol.codec import plain
from tuitrain.telemetry import wire
from tuitrain.telemetry.lineage import Lineage

MOST = 800
"""Maximum number of stored measurements, over all branches."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A loss in nats per character; `part` if only a part of the validation text was read."""

    branch: int
    step: int
    loss: float
    part: bool


@dataclass(slots=True)
class Validation:
    """`whole` and `part` hold (step, loss) of the present lineage, by step; a loss of a part is never the best."""

    taken: list[Measurement] = field(default_factory=list)
    whole: list[tuple[int, float]] = field(default_factory=list)
    part: list[tuple[int, float]] = field(default_factory=list)
    best: tuple[int, float] | None = None

    @property
    def newest_part(self) -> tuple[int, float] | None:
        """The newest (step, loss) of a part, None if there is none."""
        return self.part[-1] if self.part else None

    def take(self, event: e.Evaluated, lineage: Lineage) -> None:
        """Store a measurement."""
        self.taken.append(Measurement(event.branch, event.step, event.loss, event.part))
        if len(self.taken) > MOST:
            self._thin(lineage)
        self.moved(lineage)

    def moved(self, lineage: Lineage) -> None:
        """Select the measurements of a new lineage."""
        mine = sorted((m for m in self.taken if lineage.holds(m.branch, m.step)), key=lambda m: m.step)
        self.whole = [(m.step, m.loss) for m in mine if not m.part]
        self.part = [(m.step, m.loss) for m in mine if m.part]
        self.best = min(self.whole, key=lambda at: (at[1], at[0]), default=None)

    def _thin(self, lineage: Lineage) -> None:
        """Drop every second measurement of the older half, but never the best of a branch."""
        best: dict[int, Measurement] = {}
        for m in self.taken:
            if not m.part and (m.branch not in best or m.loss < best[m.branch].loss):
                best[m.branch] = m
        kept = set(map(id, best.values()))
        old, new = self.taken[: MOST // 2], self.taken[MOST // 2 :]
        self.taken = [m for i, m in enumerate(old) if i % 2 == 0 or id(m) in kept] + new
        del self.taken[:-MOST]

    def to_wire(self) -> list[Any]:
        """Plain JSON; what belongs to the present line is found anew by `moved`."""
        return [[m.branch, m.step, plain(m.loss), m.part] for m in self.taken]

    @classmethod
    def from_wire(cls, told: list[Any]) -> "Validation":
        """Read what `to_wire` wrote. Raises TypeError or ValueError for anything else or for too many measurements."""
        if len(told) > MOST:
            raise ValueError("more measurements than a state holds")
        return cls([Measurement(*wire.from_wire(tuple[int, int, float, bool], row)) for row in told])
