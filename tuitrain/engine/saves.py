"""When checkpoints are written: due by step, at the best validation loss, on request, at the end."""

from collections.abc import Callable, Iterator
from typing import Any

from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steered import Steered
from tuitrain.intervals import due
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import Event
from tuitrain.run.saver import Job, Saver

PATIENCE = 30.0
"""Seconds the end of a run waits for a save that is under way before its own."""


class Saves:
    """Checkpoints on disk: by interval, at the best validation loss, on request, at the end."""

    def __init__(self, machine: Steered, saver: Saver, every: int, serial: int = 0) -> None:
        self._machine, self._saver, self._every = machine, saver, every
        self._serial = serial
        self._environment = machine.environment
        self.extra: Callable[[], dict[str, Any]] = dict
        self.on_committed: Callable[[], None] | None = None
        """Called in the writer's thread after each checkpoint."""
        saver.after = self._committed

    def attend(self) -> Iterator[Event]:
        """Hand over what is due; tell what the writer did."""
        if due(self._machine.progress.step, self._every):
            self.submit(self._machine.freeze(), "interval")
        yield from self.tell()

    def tell(self) -> Iterator[Event]:
        """What the writer did since the last call."""
        yield from self._saver.results()

    def submit(self, snapshot: Snapshot, reason: str, *, pinned: bool = False, id: str = "", by: str = "") -> None:
        """Give the writer a snapshot. Raises Refused if a person's request waits already."""
        self._serial += 1
        facts = plain({**snapshot.facts, **self.extra(), "serial": self._serial, "environment": self._environment})
        self._saver.submit(Job(
            branch=snapshot.branch, step=snapshot.step, reason=reason, pinned=pinned, bytes=snapshot.bytes,
            tensors=snapshot.arrays, facts=facts, id=id, by=by))

    def _committed(self) -> None:
        if self.on_committed is not None:
            self.on_committed()

    def finish(self, snapshot: Snapshot) -> Iterator[Event]:
        """Write what waits, then this last snapshot, and end the writer; `failing` says whether that went well."""
        self._saver.wait(PATIENCE)
        self.submit(snapshot, "end")
        self._saver.close()
        yield from self._saver.results()

    @property
    def failing(self) -> bool:
        """Whether the newest try to write failed."""
        return self._saver.failing

    def abandon(self) -> None:
        """End the writer after a crash: what waits is written, the state that crashed is not."""
        self._saver.close()
