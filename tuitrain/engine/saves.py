"""Decides when checkpoints are written: by interval, at ends of epochs, at the best validation, on request, at last."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from tuitrain.engine.progress import progress_of
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steered import Steered
from tuitrain.intervals import Every, due, parse_every
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import END, EPOCH, INTERVAL, Event
from tuitrain.run.saver import Job, Saver

EARLY = 8
"""A new run is saved for the first time after this fraction (1/EARLY) of the interval."""
LONGEST = 60.0
"""Seconds between two saves where only the ends of epochs were asked for, which may be hours apart."""
PATIENCE = 30.0
"""Seconds that the end of a run waits for a save in progress before its own."""


class Saves:
    """Submits snapshots to the saver and passes its events on."""

    def __init__(self, machine: Steered, saver: Saver, every: Every, serial: int = 0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`every` is an interval in steps or time, or `epoch`: at its ends, and by the clock in between.

        `clock` must be monotonic.
        """
        self._machine, self._saver, self._clock = machine, saver, clock
        number, unit = parse_every(every)
        self._steps, self._seconds = (int(number), math.inf) if unit == "steps" else (0, number or LONGEST)
        self._at_epochs = unit == "epoch"
        self._wait = self._seconds if machine.progress.step else self._seconds / EARLY
        """Seconds until the next save; shorter at the start of a new run."""
        self._submitted = clock()
        self._serial = serial
        self.environment: dict[str, Any] = dict(machine.environment)
        """Where the numbers are computed, as each checkpoint records it."""
        self.extra: Callable[[], dict[str, Any]] = dict
        self.on_committed: Callable[[], None] | None = None
        """Called in the saver's thread after each checkpoint."""
        saver.after = self._committed

    @property
    def due(self) -> bool:
        """Whether a save is due at this step."""
        if self._steps:
            return due(self._machine.progress.step, self._steps)
        return self._clock() - self._submitted >= self._wait

    def reason(self, epoch_ended: bool) -> str:
        """Why a save is due at this step, empty if none is."""
        return EPOCH if epoch_ended and self._at_epochs else INTERVAL if self.due else ""

    def save(self, reason: str) -> None:
        """Submit a snapshot of now that came due for this reason."""
        if reason == INTERVAL:
            self._wait = min(self._seconds, 2 * self._wait)
        self.submit(self._machine.freeze(), reason)

    def results(self) -> Iterator[Event]:
        """Yield the saver's events since the last call."""
        yield from self._saver.results()

    def submit(self, snapshot: Snapshot, reason: str, *, pinned: bool = False, id: str = "", by: str = "") -> None:
        """Submit a snapshot. Raises Refused if it answers a person's request while another one waits."""
        self._serial += 1
        self._submitted = self._clock()
        values = self.values(snapshot)
        self._saver.submit(Job(
            branch=snapshot.branch, step=snapshot.step, reason=reason, pinned=pinned, bytes=snapshot.bytes,
            tensors=snapshot.arrays, values=values, id=id, by=by,
            healthy=progress_of(snapshot.values).healthy))

    def values(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what of a snapshot is not tensors, as a checkpoint has it."""
        return plain({**snapshot.values, **self.extra(), "serial": self._serial, "environment": self.environment})

    def _committed(self) -> None:
        if self.on_committed is not None:
            self.on_committed()

    def finish(self, snapshot: Snapshot) -> Iterator[Event]:
        """Write the waiting job, then this last snapshot, and end the saver; see `failing` for success."""
        self._saver.wait(PATIENCE)
        self.submit(snapshot, END)
        self._saver.close()
        yield from self._saver.results()

    @property
    def failing(self) -> bool:
        """Whether the latest attempt to write failed."""
        return self._saver.failing

    def abandon(self) -> None:
        """End the saver after a crash: the waiting job is written, the crashed state is not."""
        self._saver.close()
