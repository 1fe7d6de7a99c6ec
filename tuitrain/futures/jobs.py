"""Where the arms of a race are trained: in child processes, or by a scheduler. Knows no race.

A task can be pickled; whoever runs it writes the arm's run folder, and that is all that is heard of it.
"""

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tuitrain.diagnosis.arms import Arm
from tuitrain.futures.points import Point
from tuitrain.futures.reading import Reading
from tuitrain.futures.training import train
from tuitrain.run.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Task:
    """An arm to train: the arguments of `train`."""

    point: Point
    arm: Arm
    steps: int
    folder: Path
    corpus: str | None = None
    turns: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self) -> Reading:
        """Train it. Raises TuitrainError."""
        return train(self.point, self.arm, self.steps, self.folder, self.corpus, self.turns)


class Job(Protocol):
    """A task that somebody trains."""

    key: str
    """By which its place finds it again; empty where it ends with this process."""

    @property
    def ended(self) -> bool:
        """Whether nobody trains it any more."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """Let go of it, when what it had to write is there or it was killed."""


class Place(Protocol):
    """Where tasks are trained."""

    name: str
    """Empty for this process's own machine."""
    words: str
    at_once: int
    """Tasks that are handed to it at a time."""
    lasts: bool
    """Whether its jobs outlive this process."""

    def submit(self, task: Task) -> Job:
        """Begin a task, or queue it. Raises TuitrainError."""

    def again(self, folder: Path, key: str) -> Job:
        """A job of the race in `folder` that another process submitted."""


class Child:
    """A task in a process of this one's, which ends when this one does, however that ends."""

    key = ""

    def __init__(self, task: Task) -> None:
        with open(RunDirectory(task.folder).open_log(), "ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "tuitrain.futures.child"], stdin=subprocess.PIPE,
                                             stdout=log, stderr=log, start_new_session=True)
        assert self._process.stdin is not None
        try:
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()  # it stays open: its end is the sign that this process is gone
        except OSError:
            self._process.kill()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        if self._process.poll() is None:
            return False
        self._close()
        return True

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Wait for the end of the process."""
        self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what it never read
            self._process.stdin.close()


class Children:
    """This machine: one arm at a time."""

    name = ""
    words = "in turn on this machine"
    at_once = 1
    lasts = False

    def submit(self, task: Task) -> Job:
        """Begin a task."""
        return Child(task)

    def again(self, folder: Path, key: str) -> Job:
        """Raise LookupError: these jobs end with the process that began them."""
        raise LookupError(key)
