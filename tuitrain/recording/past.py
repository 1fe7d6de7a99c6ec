"""The state of a run so far, folded from its journal; a long journal is read from where its index ends."""

import threading
import time
from collections.abc import Callable

from tuitrain.errors import RunError
from tuitrain.run import index, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder
from tuitrain.run.index import Index
from tuitrain.telemetry.run_state import RunState

RARELY = 30.0
"""Minimum seconds between two writes of the index."""


class Past:
    """A run's `state` after the first `offset` bytes of its journal.

    Raises RunError if the journal is not a regular file.
    """

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._index = index.load(run)
        self._written = -RARELY
        self._lock = threading.Lock()
        self.state = RunState()
        if self._index.offset:
            try:
                self.state = RunState.from_wire(self._index.extra["state"])
            except (KeyError, TypeError, ValueError, AttributeError):  # of another version: read the whole journal
                self._index = Index()
        self.read_on()

    @property
    def offset(self) -> int:
        """Number of journal bytes that the state includes."""
        return self._index.offset

    def read_on(self) -> None:
        """Fold what was added to the journal since the last call."""
        trouble = journal.Trouble(offset=self._index.offset)
        for event, when in journal.read(self._run.journal, trouble, start=self._index.offset):
            self.state.fold(event, when)
            self._index.digest.fold(event, when)
        self._index.digest.damaged += trouble.damaged
        self.state.passed_over(trouble.damaged)
        self._index.offset = trouble.offset

    def keep(self, folder: Folder, *, now: bool = False) -> None:
        """Read on and write the index into the run folder, unless it was just written. Never fails: it is a cache."""
        with self._lock:
            if folder.gone or not (now or self._clock() - self._written >= RARELY):
                return
            self._written = self._clock()
            try:
                self.read_on()
                self._index.extra = {"state": self.state.to_wire()}
                index.save(self._run, self._index, folder)
            except (OSError, RunError, ValueError):
                return  # a full disk: without an up-to-date index the journal is read instead
