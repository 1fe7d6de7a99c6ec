"""A background thread that writes checkpoints one at a time, so that training never waits for the disk.

A newer request replaces a waiting one, unless a person made it. A failed save is retried after growing pauses while
the run continues. Knows nothing about training.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuitrain.errors import Refused, RunError
from tuitrain.protocol.events import END, CheckpointPruned, CheckpointSaved, Event, SavingFailed, SavingRecovered
from tuitrain.run import checkpoints
from tuitrain.run.checkpoints import Retention, Tensors
from tuitrain.run.folder import Folder

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
REPEAT_AFTER = 60.0
"""Seconds after which a save that keeps failing is reported again."""
GONE = "the run folder is gone: it was removed, moved or replaced"


@dataclass(frozen=True, slots=True)
class Job:
    """A checkpoint to write; `tensors` returns immutable arrays and is called in the saver's thread."""

    branch: int
    step: int
    reason: str
    pinned: bool
    bytes: int
    tensors: Callable[[], Tensors]
    values: dict[str, Any]
    id: str = ""
    by: str = ""
    healthy: bool = True


class Saver:
    """Writes submitted checkpoints; `submit` and `results` belong to one thread, `close` finishes the waiting job.

    The folder is held open, so nothing is written into another folder that has taken its name. `sync` makes durable
    what a checkpoint must not be ahead of; `after` is called in the saver's thread after each commit.
    """

    def __init__(self, folder: Path, retention: Retention, clock: Callable[[], float] = time.monotonic, *,
                 run: str = "", sync: Callable[[], None] | None = None) -> None:
        self.home = Folder(folder.parent)
        """The run folder."""
        self.place = Folder(Path(folder.name), inside=self.home)
        self.folder, self._retention, self._clock, self.run, self._sync = folder, retention, clock, run, sync
        self.after: Callable[[], None] | None = None
        self._reported = 0.0
        self._newest: checkpoints.Checkpoint | None = None
        self._condition = threading.Condition()
        self._waiting: Job | None = None
        self._busy = False
        self._closing = False
        self._results: list[Event] = []
        self._failures = 0
        # A daemon: an interrupted save leaves the previous checkpoint intact, and the process can always exit.
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Request a save. Raises Refused if this is a person's request and another one is still waiting."""
        with self._condition:
            waiting = self._waiting
            if waiting is not None and waiting.id:
                if job.id:
                    raise Refused("a checkpoint is already waiting to be written; try again in a moment")
                if job.reason != END:
                    return  # the waiting one is as good and answers a person's request
                job = replace(job, id=waiting.id, by=waiting.by)  # the final state answers the request even better
            if waiting is not None and waiting.pinned and not job.pinned:
                job = replace(job, pinned=True)
            self._waiting = job
            self._condition.notify_all()

    def results(self) -> list[Event]:
        """Return the events of saves, prunings and failures since the last call."""
        with self._condition:
            results, self._results = self._results, []
        return results

    @property
    def failing(self) -> bool:
        """Whether the latest attempt to write failed."""
        return self._failures > 0

    @property
    def idle(self) -> bool:
        """Whether no job is waiting or being written."""
        with self._condition:
            return self._waiting is None and not self._busy

    def wait(self, timeout: float) -> bool:
        """Wait until idle or until an attempt has failed; False if neither happened within `timeout` seconds."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._busy and (self._waiting is None or self._failures > 0), timeout)

    def close(self) -> None:
        """Write the waiting job (with one retry if the disk refuses), then end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()
        self.place.close()
        self.home.close()

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting is not None or self._closing)
                job, self._waiting = self._waiting, None
                if job is None:
                    return
                self._busy = True
            failed = not self._save(job)
            with self._condition:
                self._busy = False
                if failed and self._waiting is None and not self._closing:
                    self._waiting = job
                self._condition.notify_all()
                if not failed:
                    pause = FIRST_PAUSE
                    continue
                if self._closing:
                    continue
                self._condition.wait_for(lambda: self._closing, pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _save(self, job: Job) -> bool:
        started = self._clock()
        try:
            if self.place.gone:
                raise RunError(GONE)
            mark = checkpoints.save(self.place, job.tensors(), branch=job.branch, step=job.step, reason=job.reason,
                                    pinned=job.pinned, values=job.values, run=self.run, before_commit=self._sync,
                                    twin=self._newest if self._is_of(job) else None)
        except (OSError, RuntimeError, RunError, MemoryError) as error:
            self._failures += 1
            if self._failures == 1 or self._clock() - self._reported >= REPEAT_AFTER:
                self._reported = self._clock()
                self._report(self._failed(job, error))
            return False
        self._newest = mark
        path = str(Path(self.folder.name) / f"{mark.name}.safetensors")
        self._report(CheckpointSaved(
            branch=job.branch, step=job.step, id=job.id, by=job.by, reason=job.reason, path=path,
            bytes=mark.bytes, seconds=round(self._clock() - started, 4), params_sha256=mark.params_sha256,
            healthy=job.healthy))
        if self._failures:
            self._report(SavingRecovered(branch=job.branch, step=job.step, failures=self._failures))
            self._failures = 0
        self._prune()
        if self.after is not None:
            self.after()
        return True

    def _is_of(self, job: Job) -> bool:
        """Whether the newest checkpoint is of the job's step and branch."""
        return self._newest is not None and (self._newest.branch, self._newest.step) == (job.branch, job.step)

    def _prune(self) -> None:
        try:
            for old in self._retention.expendable(checkpoints.list_all(self.place, self.run)):
                checkpoints.delete(self.place, old)
                self._report(CheckpointPruned(branch=old.branch, step=old.step,
                                              path=f"checkpoints/{old.name}.safetensors"))
        except (OSError, RunError):
            return  # retried after the next save

    def _failed(self, job: Job, error: Exception) -> SavingFailed:
        try:
            volume = os.statvfs(self.place.fd)
            free = -1 if self.place.gone else volume.f_bavail * volume.f_frsize
        except OSError:
            free = -1
        words = (str(error) or type(error).__name__).splitlines()[0]
        reason = "disk full" if 0 <= free < job.bytes * 2 else words
        return SavingFailed(branch=job.branch, step=job.step, path=str(self.folder), reason=reason,
                            bytes_needed=job.bytes, bytes_free=free)

    def _report(self, event: Event) -> None:
        with self._condition:
            self._results.append(event)
