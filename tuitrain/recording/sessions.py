"""Read-only sessions from a journal: following a run that has no socket, and replaying one."""

import math
import os
import time
from collections.abc import Callable, Iterator

from tuitrain.errors import RunError
from tuitrain.protocol.codec import DamagedLine, decode_event
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event, RunEnded
from tuitrain.recording.past import Past
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, host_of, is_alive
from tuitrain.run.folder import open_regular
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session, Tape

LASTS = 60.0
"""Approximate length of a replay in seconds at its initial speed."""
GAP = 2.0
"""Seconds of replay time above which a gap (a pause, the days until a resume) is skipped."""
LOOKS = 1.0
"""Seconds between checks whether the run's process is still alive."""


class Look(Session):
    """Follows a running run's journal as it is written; `closed` once the run has ended.

    If the run is on another machine (`elsewhere` is its name), only the journal is visible and it is followed until
    it has a RunEnded. Damaged lines are counted in the state.
    """

    connection = "read-only"

    def __init__(self, run: RunDirectory) -> None:
        self._run, self.elsewhere = run, host_of(run)
        self.resynchronised = -1
        self._open()
        self.closed = bool(self.state.ended) or not self._may_live()

    def _open(self) -> None:
        past = Past(self._run)
        try:
            # Stays open as long as the session.
            self._file = open(open_regular(self._run.journal, os.O_RDONLY), "rb")  # noqa: SIM115
        except OSError as error:
            raise RunError(f"{self._run.journal}: {error.strerror or error}") from None
        self._file.seek(past.offset)
        self._incomplete = b""
        self._next = time.monotonic() + LOOKS
        self.state = past.state
        self.resynchronised += 1

    def _may_live(self) -> bool:
        return bool(self.elsewhere) or is_alive(self._run)

    def _replaced(self) -> bool:
        """Whether the journal is a different file now, or shorter than what was already read."""
        try:
            there, here = os.stat(self._run.journal), os.fstat(self._file.fileno())
        except OSError:
            return False  # a shared file system may be unavailable for a moment
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < self._file.tell()

    def send(self, command: Command) -> None:
        """Raise RunError: this session is read-only."""
        raise RunError("this session is read-only: the run has no socket")

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events written since the last call, each with its Unix time. Does not wait."""
        try:
            *lines, self._incomplete = (self._incomplete + self._file.read()).split(b"\n")
        except OSError:
            return []  # a shared file system may be unavailable for a moment
        events = list(_decoded(lines))
        self.state.passed_over(len(lines) - len(events))
        if any(isinstance(event, RunEnded) for event, _ in events[-1:]):
            self.closed = True
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOKS
            if self._replaced():
                self._file.close()
                self._open()
                return []
            self.closed = not self._may_live()
        return events

    def close(self) -> None:
        """Stop following the journal."""
        self._file.close()


class Replay(Tape):
    """Plays a recorded run, usually faster than it was; can be stopped and wound. `state` is the state after a jump."""

    connection = "replay"

    def __init__(self, run: RunDirectory, speed: float | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        times = journal.times(run.journal)
        if times is None:
            raise RunError(f"{run.path} has nothing to replay: its journal is missing or empty")
        self._first, self._last = times
        self.speed = speed or 2.0 ** max(0, round(math.log2(max(1.0, (self._last - self._first) / LASTS))))
        self.playing = True
        self.now = self._first
        self.closed = False
        self.resynchronised = 0
        self.state = RunState()
        self._drained = clock()
        self._rewind()

    def send(self, command: Command) -> None:
        """Raise RunError: a replay takes no commands."""
        raise RunError("this is a replay: it takes no commands")

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events due since the last call, each with its Unix time. Does not wait."""
        before, self._drained = self._drained, self._clock()
        if not self.playing:
            return []
        self.now = min(self._last, self.now + (self._drained - before) * self.speed)
        if self._next is not None and self._next[1] - self.now > GAP * self.speed:
            self.now = self._next[1]
        return list(self._until(self.now))

    def close(self) -> None:
        """Do nothing: no resource is held."""

    def toggle(self) -> None:
        """Stop or continue playing."""
        self.playing = not self.playing

    def faster(self, factor: float) -> None:
        """Multiply the speed by a factor, within 1/16 and 65536."""
        self.speed = min(65536.0, max(1 / 16, self.speed * factor))

    def jump(self, share: float) -> None:
        """Jump by this share of the whole recording, backwards if negative."""
        self.now = min(self._last, max(self._first, self.now + share * (self._last - self._first)))
        self._rewind()
        self.state = RunState()
        for event, when in self._until(self.now):
            self.state.fold(event, when)
        self.resynchronised += 1

    @property
    def words(self) -> str:
        """Speed and position, for a person."""
        whole = self._last - self._first
        share = (self.now - self._first) / whole if whole else 1.0
        return f"×{self.speed:g} {share:.0%}" + ("" if self.playing else ", stopped")

    def _rewind(self) -> None:
        self._events = journal.read(self._run.journal)
        self._next = next(self._events, None)

    def _until(self, when: float) -> Iterator[tuple[Event, float]]:
        # After the clock was set back, later events have earlier times; the last one still marks the end.
        while self._next is not None and min(self._next[1], self._last) <= when:
            yield self._next
            self._next = next(self._events, None)


def _decoded(lines: list[bytes]) -> Iterator[tuple[Event, float]]:
    for line in lines:
        try:
            yield decode_event(line)
        except DamagedLine:
            continue
