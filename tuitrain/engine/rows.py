"""The numbers of the last steps: rows in a ring on the device, fetched in windows. Does not know what columns mean.

On a GPU nobody waits for them: a window is copied to the host while training goes on, and returned by the first drain
that finds its copy complete, with the time at which the copy was requested.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH = 1024
"""Number of steps in the ring."""
AHEAD = 8
"""Steps that the host may be ahead of the GPU: enough that the GPU never waits while the host reports, saves or
samples, few enough that a pause, a stop or the guard acts at once."""


class Event(Protocol):
    """A mark in the device's queue, like `torch.cuda.Event`."""

    def record(self) -> None:
        """Mark the work queued so far."""

    def query(self) -> bool:
        """Whether the marked work is done."""

    def synchronize(self) -> None:
        """Wait until the marked work is done."""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows [steps, columns] following the previous window; `asked` is the time of their request (caller's clock)."""

    rows: NDArray[np.float32]
    asked: float


class Rows:
    """A ring of rows, and one of the loss of each stream [steps, batch]. `event` makes a mark in its queue."""

    def __init__(self, columns: int, streams: int, device: torch.device,
                 event: Callable[[], Event] | None = None) -> None:
        self._ring = torch.zeros(LENGTH, columns, device=device)
        self._streams = torch.zeros(LENGTH, streams, device=device)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)
        self._event = event
        self._written = self._asked = self._returned = 0
        self._copying: deque[tuple[Tensor, Event, int, float]] = deque()

    def write(self, row: Tensor, streams: Tensor) -> None:
        """Add a row [columns] and the losses [batch] on the device; part of the captured step."""
        self._streams.index_copy_(0, self._next, streams.unsqueeze(0))
        self._ring.index_copy_(0, self._next, row.unsqueeze(0))
        self._next.add_(1).remainder_(LENGTH)

    def count(self) -> None:
        """Count on the host a row that was queued to be written."""
        self._written += 1

    def forget(self) -> None:
        """Discard all rows, also those being copied."""
        self._next.zero_()
        self._written = self._asked = self._returned = 0
        self._copying.clear()

    @property
    def undrained(self) -> int:
        """Number of rows that no drain has requested yet."""
        return self._written - self._asked

    def drain(self, clock: Callable[[], float], *, wait: bool) -> list[Window]:
        """Return the windows that arrived since the last call, oldest first; `wait` fetches everything."""
        if self._event is None:
            return self._arrived(self._ring, self._written, clock())
        windows: list[Window] = []
        while self._copying and (wait or self._copying[0][1].query()):
            ring, event, upto, asked = self._copying.popleft()
            event.synchronize()
            windows += self._arrived(ring, upto, asked)
        if wait:
            return windows + self._arrived(self._ring.cpu(), self._written, clock())
        if self.undrained:
            target = torch.empty_like(self._ring, device="cpu", pin_memory=self._ring.is_cuda)
            target.copy_(self._ring, non_blocking=True)
            event = self._event()
            event.record()
            self._copying.append((target, event, self._written, clock()))
            self._asked = self._written
        return windows

    def remembered(self, count: int) -> NDArray[np.float32]:
        """Return the last `count` rows, drained or not: [steps, columns]."""
        return self._last(self._ring, count)

    def remembered_streams(self, count: int) -> NDArray[np.float32]:
        """Return the losses of the streams in the last `count` steps: [steps, batch]."""
        return self._last(self._streams, count)

    def _last(self, ring: Tensor, count: int) -> NDArray[np.float32]:
        count = min(count, self._written, LENGTH)
        return ring.cpu().numpy()[np.arange(self._written - count, self._written) % LENGTH]

    def _arrived(self, ring: Tensor, upto: int, asked: float) -> list[Window]:
        if upto == self._returned:
            return []
        where = np.arange(self._returned, upto) % LENGTH
        self._returned, self._asked = upto, max(self._asked, upto)
        return [Window(ring.numpy()[where], asked)]


class Lead:
    """Keeps the host at most `AHEAD` steps ahead of the device."""

    def __init__(self, event: Callable[[], Event] | None) -> None:
        self._event = event
        self._open: deque[Event] = deque()

    def step(self) -> None:
        """Call after queueing a step: wait until the one `AHEAD` steps earlier is done."""
        if self._event is None:
            return
        if len(self._open) < AHEAD:
            event = self._event()
        else:
            event = self._open.popleft()
            event.synchronize()
        event.record()
        self._open.append(event)
