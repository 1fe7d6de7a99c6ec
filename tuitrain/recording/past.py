"""The state of a run so far, folded from its journal; a long journal is read from where its index ends."""

import threading
import time
from collections.abc import Callable

from tuitrain.errors import RunError
from tuitrain.recording import guide
from tuitrain.run import index, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder
from tuitrain.run.index import Index
from tuitrain.telemetry.run_state import RunState

RARELY = 30.0
"""Minimum seconds between two writes of the index."""
GUIDED = 600.0
"""The same for the guide of replays, which is a megabyte or two."""


class Past:
    """A run's `state` after the first `offset` bytes of its journal.

    `guides`: whether a guide for replays is made on the way and kept with the index. Raises RunError if the journal is
    not a regular file.
    """

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.monotonic, *,
                 guides: bool = False) -> None:
        self._run, self._clock = run, clock
        self._index = index.load(run)
        self._written, self._guided = -RARELY, clock()
        self._guide = guide.load(run) if guides else None
        self._lock = threading.Lock()
        self.state = RunState()
        if self._index.offset:
            try:
                self.state = RunState.from_wire(self._index.extra["state"])
            except (KeyError, TypeError, ValueError, AttributeError):  # of another version: read the whole journal
                self._index = Index()
        if self._guide is not None and not self._guide.reaches(self._index.offset):
            self._guide = None  # the first replay makes it whole
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
            if self._guide is not None:
                self._guide.passed(trouble.offset, self._index.digest.last_time, self.state)
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
                if self._guide is not None and (now or self._clock() - self._guided >= GUIDED):
                    self._guided = self._clock()
                    self._guide.survey.read_on(self._run.journal)
                    guide.save(self._run, self._guide, folder)
            except (OSError, RunError, ValueError):
                return  # a full disk: without an up-to-date index the journal is read instead
