"""The restore points in memory: dense near now, sparse far back, inside a memory budget. Knows no training."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tuitrain.engine.snapshot import Snapshot

MAX_PINNED = 20
MAX_POINTS = 64


@dataclass(slots=True)
class MemoryPoint:
    """A snapshot with the name it is asked for by."""

    name: str
    snapshot: Snapshot
    reason: str
    pinned: bool


class RestorePoints:
    """Points in the order they were taken. `budget` is in bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._points: OrderedDict[str, MemoryPoint] = OrderedDict()
        self._taken = 0

    def add(self, snapshot: Snapshot, reason: str, *, pinned: bool) -> tuple[MemoryPoint, list[MemoryPoint]]:
        """Keep a snapshot; returns its point and those given up for it."""
        self._taken += 1
        point = MemoryPoint(f"s{self._taken}", snapshot, reason, pinned)
        self._points[point.name] = point
        pins = [p for p in self._points.values() if p.pinned]
        for old in pins[:-MAX_PINNED]:
            old.pinned = False
        return point, self._thin(point)

    def give_up(self, wanted: int) -> MemoryPoint | None:
        """Give up the point that is missed least because so many bytes are wanted and not there; None if there is none.

        From now on the budget is what is left and those bytes: more than that does not fit.
        """
        if not self._points:
            return None
        victim = self._least_missed(next(reversed(self._points.values())))
        del self._points[victim.name]
        self.budget = self.bytes + wanted
        return victim

    def pin(self, point: MemoryPoint) -> None:
        """Keep a point while it is among the last that were pinned."""
        point.pinned = True

    def __iter__(self) -> Iterator[MemoryPoint]:
        return iter(list(self._points.values()))

    def __len__(self) -> int:
        return len(self._points)

    def get(self, name: str) -> MemoryPoint | None:
        return self._points.get(name)

    @property
    def bytes(self) -> int:
        return sum(p.snapshot.bytes for p in self._points.values())

    def _thin(self, newest: MemoryPoint) -> list[MemoryPoint]:
        dropped = []
        while len(self._points) > 1 and (self.bytes > self.budget or len(self._points) > MAX_POINTS):
            victim = self._least_missed(newest)
            del self._points[victim.name]
            dropped.append(victim)
        return dropped

    def _least_missed(self, newest: MemoryPoint) -> MemoryPoint:
        """The unpinned point that leaves the smallest gap for its age; the oldest pin if there are only pins."""
        points = list(self._points.values())
        ages = [self._taken - int(p.name[1:]) for p in points]  # in snapshots, not steps: branches overlap
        best, choice = float("inf"), None
        for i, point in enumerate(points):
            if point.pinned or point is newest:
                continue
            before = ages[i - 1] if i else ages[i] * 2 + 2
            gap = (before - ages[i + 1]) / (ages[i] + 1)
            if gap < best:
                best, choice = gap, point
        return choice if choice is not None else points[0]
