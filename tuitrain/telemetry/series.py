"""Numbers by step, in bounded memory: Ring keeps the recent ones, History the whole run at falling resolution."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.protocol.codec import plain

Array = NDArray[Any]
MAX_CAPACITY = 4096
"""Buckets of a history from the wire: what a sender claims is allocated here."""
MAX_COUNT = 2**53


class Ring:
    """The last `capacity` numbers, in full resolution."""

    def __init__(self, capacity: int) -> None:
        self._values = np.zeros(capacity)
        self._count = 0

    def extend(self, values: Array) -> None:
        """Append, forgetting the oldest."""
        capacity = len(self._values)
        values = np.asarray(values, dtype=float)
        skipped = max(0, len(values) - capacity)
        where = (self._count + skipped + np.arange(len(values) - skipped)) % capacity
        self._values[where] = values[skipped:]
        self._count += len(values)

    def __len__(self) -> int:
        return min(self._count, len(self._values))

    def last(self, count: int | None = None) -> Array:
        """The newest `count` numbers (None: all that are kept), oldest first."""
        count = len(self) if count is None else min(count, len(self))
        return self._values[np.arange(self._count - count, self._count) % len(self._values)]


class History:
    """Minimum, maximum and mean of a whole run in at most `capacity` buckets of equal width.

    When the buckets are used up, neighbours are merged and the width doubles. Numbers that are not finite count in
    their bucket's `bad`, never in its mean.
    """

    def __init__(self, capacity: int = 512) -> None:
        if capacity < 2 or capacity % 2:
            raise ValueError("capacity must be even and at least 2")
        self.capacity = capacity
        self.width = 1
        self.first_step = 1
        self._count = 0
        self._low = np.full(capacity, np.inf)
        self._high = np.full(capacity, -np.inf)
        self._sum = np.zeros(capacity)
        self._good = np.zeros(capacity, dtype=np.int64)
        self._bad = np.zeros(capacity, dtype=np.int64)

    def extend(self, values: Array) -> None:
        """Append one number per step."""
        values = np.asarray(values, dtype=float)
        while self._count + len(values) > self.capacity * self.width:
            room = self.capacity * self.width - self._count
            self._add(values[:room])
            values = values[room:]
            self._halve()
        self._add(values)

    def _add(self, values: Array) -> None:
        where = (self._count + np.arange(len(values))) // self.width
        good = np.isfinite(values)
        np.minimum.at(self._low, where[good], values[good])
        np.maximum.at(self._high, where[good], values[good])
        np.add.at(self._sum, where[good], values[good])
        np.add.at(self._good, where[good], 1)
        np.add.at(self._bad, where[~good], 1)
        self._count += len(values)

    def cut(self, step: int) -> None:
        """Forget what came after a step; the bucket that holds it keeps its later numbers."""
        self._count = max(0, min(self._count, step - self.first_step + 1))
        used = -(-self._count // self.width)
        for array, rest in ((self._low, np.inf), (self._high, -np.inf), (self._sum, 0), (self._good, 0),
                            (self._bad, 0)):
            array[used:] = rest

    @property
    def last_step(self) -> int:
        """The step of the newest number."""
        return self.first_step + self._count - 1

    def __len__(self) -> int:
        return self._count

    def buckets(self) -> tuple[Array, Array, Array, Array, NDArray[np.int64]]:
        """(first step, low, high, mean, bad) of each bucket in use; low, high and mean are nan where all were bad."""
        n = -(-self._count // self.width)
        empty = self._good[:n] == 0
        low, high = (np.where(empty, np.nan, a[:n]) for a in (self._low, self._high))
        mean = np.divide(self._sum[:n], self._good[:n], out=np.full(n, np.nan), where=~empty)
        return self.first_step + np.arange(n) * float(self.width), low, high, mean, self._bad[:n].copy()

    def largest(self) -> tuple[float, int] | None:
        """The largest number and the first step of its bucket, its own step as long as buckets are a step wide; None
        before the first."""
        if not self._good.any():
            return None
        place = int(np.argmax(self._high))
        return float(self._high[place]), self.first_step + place * self.width

    def _halve(self) -> None:
        half = self.capacity // 2
        for array, merge, rest in ((self._low, np.minimum, np.inf), (self._high, np.maximum, -np.inf),
                                   (self._sum, np.add, 0), (self._good, np.add, 0), (self._bad, np.add, 0)):
            array[:half] = merge(array[::2], array[1::2])
            array[half:] = rest
        self.width *= 2

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON; five significant digits, which is more than a plot shows."""
        n = -(-self._count // self.width)
        floats = {"low": self._low, "high": self._high, "sum": self._sum}
        return {"width": self.width, "first_step": self.first_step, "count": self._count, "capacity": self.capacity,
                **{name: plain([float(f"{v:.5g}") for v in a[:n].tolist()]) for name, a in floats.items()},
                "good": self._good[:n].tolist(), "bad": self._bad[:n].tolist()}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "History":
        """The history that `to_wire` told. Raises KeyError or ValueError if it did not."""
        capacity, width, count = int(wire["capacity"]), int(wire["width"]), int(wire["count"])
        if not (2 <= capacity <= MAX_CAPACITY and 1 <= width <= MAX_COUNT and 0 <= count <= capacity * width):
            raise ValueError(f"no history: {count} numbers in {capacity} buckets of {width}")
        n = -(-count // width)
        if any(len(wire[name]) != n for name in ("low", "high", "sum", "good", "bad")):
            raise ValueError(f"no history: its lists are not {n} long")
        history = cls(capacity)
        history.width, history.first_step, history._count = width, int(wire["first_step"]), count
        for name in ("low", "high", "sum"):
            getattr(history, f"_{name}")[:n] = [float(v) for v in wire[name]]
        history._good[:n], history._bad[:n] = wire["good"], wire["bad"]
        return history
