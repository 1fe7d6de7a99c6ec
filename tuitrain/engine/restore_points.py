"""The snapshots in memory: dense in the recent past, sparse further back, within a memory budget. Knows no training."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tuitrain.engine.snapshot import Snapshot

MAX_PINNED = 20
MAX_POINTS = 64


@dataclass(slots=True)
class MemoryPoint:
    """A snapshot with its name."""

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
        """Add a snapshot; return its point and the points that were dropped for it."""
        self._taken += 1
        point = MemoryPoint(f"s{self._taken}", snapshot, reason, pinned)
        self._points[point.name] = point
        pins = [p for p in self._points.values() if p.pinned]
        for old in pins[:-MAX_PINNED]:
            old.pinned = False
        return point, self._thin(point)

    def drop_one(self, wanted: int) -> MemoryPoint | None:
        """Drop the least useful point because `wanted` bytes could not be allocated; None if there is none.

        The budget becomes what is left plus those bytes, as more does not fit.
        """
        if not self._points:
            return None
        victim = self._least_useful(next(reversed(self._points.values())))
        del self._points[victim.name]
        self.budget = self.bytes + wanted
        return victim

    def pin(self, point: MemoryPoint) -> None:
        """Pin a point; only the last MAX_PINNED stay pinned."""
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
            victim = self._least_useful(newest)
            del self._points[victim.name]
            dropped.append(victim)
        return dropped

    def _least_useful(self, newest: MemoryPoint) -> MemoryPoint:
        """Return the unpinned point that leaves the smallest gap for its age; the oldest if all are pinned."""
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
