"""Numbers by step in bounded memory: Ring keeps the recent ones, History the whole run at decreasing resolution."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.protocol.codec import plain

Array = NDArray[Any]
MAX_CAPACITY = 4096
"""Buckets of a history from the wire: what a sender claims is allocated here."""
MAX_COUNT = 2**53
_COUNTS = ("good", "bad", "low_at", "high_at")
"""The integer arrays of a history."""


def median(values: Array) -> float:
    """Return the median; nan of no numbers, or if one is nan. numpy's own would import its masked arrays for it."""
    if not len(values) or np.isnan(values).any():
        return float("nan")
    ordered, half = np.sort(values), len(values) // 2
    return float(ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2)


class Ring:
    """The last `capacity` numbers, in full resolution."""

    def __init__(self, capacity: int) -> None:
        self._values = np.zeros(capacity)
        self._count = self._kept = 0

    def extend(self, values: Array) -> None:
        """Append numbers, dropping the oldest."""
        capacity = len(self._values)
        values = np.asarray(values, dtype=float)
        skipped = max(0, len(values) - capacity)
        where = (self._count + skipped + np.arange(len(values) - skipped)) % capacity
        self._values[where] = values[skipped:]
        self._count += len(values)
        self._kept = min(capacity, self._kept + len(values))

    def __len__(self) -> int:
        return self._kept

    def drop(self, count: int) -> None:
        """Drop the newest `count` numbers."""
        count = min(count, self._kept)
        self._count -= count
        self._kept -= count

    def keep(self, count: int) -> None:
        """Drop all but the newest `count` numbers."""
        self._kept = min(count, self._kept)

    def last(self, count: int | None = None) -> Array:
        """Return the newest `count` numbers (None: all), oldest first."""
        count = len(self) if count is None else min(count, len(self))
        return self._values[np.arange(self._count - count, self._count) % len(self._values)]


class History:
    """Minimum, maximum and mean of a whole run in at most `capacity` buckets of equal width.

    When the buckets are used up, neighbours are merged and the width doubles. Numbers that are not finite count in
    their bucket's `bad`, never in its mean. The steps of minimum and maximum are kept, as offsets in their bucket.
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
        self._good, self._bad, self._low_at, self._high_at = (np.zeros(capacity, dtype=np.int64) for _ in range(4))

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
        self._extremes(self._low, self._low_at, where[good], values[good], np.flatnonzero(good), np.less)
        self._extremes(self._high, self._high_at, where[good], values[good], np.flatnonzero(good), np.greater)
        np.add.at(self._sum, where[good], values[good])
        np.add.at(self._good, where[good], 1)
        np.add.at(self._bad, where[~good], 1)
        self._count += len(values)

    def _extremes(self, extreme: Array, at: Array, where: Array, values: Array, offsets: Array, beats: Any) -> None:
        """Update each bucket's extreme and its offset in the bucket, the first of equals."""
        if not len(values):
            return
        order = np.lexsort((offsets, values if beats is np.less else -values, where))
        first = order[np.r_[True, np.diff(where[order]) > 0]]  # the most extreme number of each bucket
        bucket = where[first]
        better = beats(values[first], extreme[bucket])
        extreme[bucket[better]] = values[first][better]
        at[bucket[better]] = (self._count + offsets[first][better]) % self.width

    def cut(self, step: int, known: Array | tuple[()] = ()) -> None:
        """Discard everything after a step. `known` are the newest numbers up to it, as far as available.

        The bucket of the step is recomputed from them. If they do not reach back to its start, its mean is kept, and
        an extreme from after the step is replaced by the mean.
        """
        count = max(0, min(self._count, step - self.first_step + 1))
        if count == self._count:
            return
        used, inside = -(-count // self.width), count % self.width
        self._count = count
        self._clear(used)
        if not inside:
            return
        if len(known) >= inside:
            self._clear(used - 1)
            self._count -= inside
            self._add(np.asarray(known, dtype=float)[-inside:])
        else:
            self._estimate(used - 1, inside)

    def skip(self, count: int) -> None:
        """Skip steps without numbers; before the first number the history begins after them."""
        if not self._count:
            self.first_step += count
            return
        while self._count + count > self.capacity * self.width:
            self._halve()
        self._count += count

    def _clear(self, first: int) -> None:
        for array, rest in self._rests():
            array[first:] = rest

    def _rests(self) -> tuple[tuple[Array, float], ...]:
        return ((self._low, np.inf), (self._high, -np.inf), (self._sum, 0), (self._good, 0), (self._bad, 0),
                (self._low_at, 0), (self._high_at, 0))

    def _estimate(self, place: int, inside: int) -> None:
        total, good = float(self._sum[place]), int(self._good[place])
        extremes = ((self._low, self._low_at), (self._high, self._high_at))
        for extreme, at in extremes:
            if good > 1 and at[place] >= inside:
                total, good = total - float(extreme[place]), good - 1
        mean = total / good if good else 0.0
        for extreme, at in extremes:
            if good and at[place] >= inside:
                extreme[place], at[place] = mean, 0
        self._good[place] = min(good, inside)
        self._sum[place], self._bad[place] = mean * self._good[place], 0

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
        """Return the largest number and its step; None before the first."""
        if not self._good.any():
            return None
        place = int(np.argmax(self._high))
        return float(self._high[place]), self.first_step + place * self.width + int(self._high_at[place])

    def _halve(self) -> None:
        half = self.capacity // 2
        for extreme, at, beats in ((self._low, self._low_at, np.less), (self._high, self._high_at, np.greater)):
            second = beats(extreme[1::2], extreme[::2])
            at[:half] = np.where(second, at[1::2] + self.width, at[::2])
            extreme[:half] = np.where(second, extreme[1::2], extreme[::2])
        for array in (self._sum, self._good, self._bad):
            array[:half] = array[::2] + array[1::2]
        self._clear(half)
        self.width *= 2

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON; five significant digits, which is more than a plot shows."""
        n = -(-self._count // self.width)
        floats = {"low": self._low, "high": self._high, "sum": self._sum}
        return {"width": self.width, "first_step": self.first_step, "count": self._count, "capacity": self.capacity,
                **{name: plain([float(f"{v:.7g}") for v in a[:n].tolist()]) for name, a in floats.items()},
                **{name: getattr(self, f"_{name}")[:n].tolist() for name in _COUNTS}}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "History":
        """The history that `to_wire` told. Raises KeyError or ValueError if it did not."""
        capacity, width, count = int(wire["capacity"]), int(wire["width"]), int(wire["count"])
        if not (2 <= capacity <= MAX_CAPACITY and 1 <= width <= MAX_COUNT and 0 <= count <= capacity * width):
            raise ValueError(f"no history: {count} numbers in {capacity} buckets of {width}")
        n = -(-count // width)
        if any(len(wire[name]) != n for name in ("low", "high", "sum", *_COUNTS)):
            raise ValueError(f"no history: its lists are not {n} long")
        history = cls(capacity)
        history.width, history.first_step, history._count = width, int(wire["first_step"]), count
        for name in ("low", "high", "sum"):
            getattr(history, f"_{name}")[:n] = [float(v) for v in wire[name]]
        for name in _COUNTS:
            getattr(history, f"_{name}")[:n] = [int(v) for v in wire[name]]
        return history
