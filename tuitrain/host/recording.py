"""Sessions out of a journal: a look at a run that has no socket, and a replay. Nothing can be asked of either."""

import math
import os
import time
from collections.abc import Callable, Iterator

from tuitrain.errors import RunError
from tuitrain.host.past import Past
from tuitrain.protocol.codec import DamagedLine, decode_event
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event, RunEnded
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, host_of, is_alive
from tuitrain.run.folder import open_regular
from tuitrain.telemetry.run_state import RunState

LASTS = 60.0
"""Seconds that a replay takes at the speed it begins with, about."""
GAP = 2.0
"""Seconds of the replay after which a silence (a pause, the days until a resume) is skipped."""
LOOKS = 1.0
"""Seconds between looks whether the process of a run is still there."""


class Look:
    """What a living run writes into its journal, as it writes it; `closed` once the run has ended.

    Of a run on another machine nothing but its journal is known: `elsewhere` is that machine's name, and the look
    goes on until the run says goodbye. What cannot be read is counted in the state.
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
            # Open for as long as the session.
            self._file = open(open_regular(self._run.journal, os.O_RDONLY), "rb")  # noqa: SIM115
        except OSError as error:
            raise RunError(f"{self._run.journal}: {error.strerror or error}") from None
        self._file.seek(past.offset)
        self._rest = b""
        self._next = time.monotonic() + LOOKS
        self.state = past.state
        self.resynchronised += 1

    def _may_live(self) -> bool:
        return bool(self.elsewhere) or is_alive(self._run)

    def _replaced(self) -> bool:
        """Whether the journal is another file now, or shorter than what was read of it."""
        try:
            there, here = os.stat(self._run.journal), os.fstat(self._file.fileno())
        except OSError:
            return False  # a shared file system that is away for a moment
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or there.st_size < self._file.tell()

    def send(self, command: Command) -> None:
        """Raises RunError always."""
        raise RunError("this is a read-only look: the run has no socket")

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """What was written since the last call."""
        return [event for event, _ in self.drain_timed(timeout)]

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """The same with each event's Unix time. Does not wait."""
        try:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        except OSError:
            return []  # a shared file system that is away for a moment
        found = list(_decoded(lines))
        self.state.passed_over(len(lines) - len(found))
        if any(isinstance(event, RunEnded) for event, _ in found[-1:]):
            self.closed = True
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOKS
            if self._replaced():
                self._file.close()
                self._open()
                return []
            self.closed = not self._may_live()
        return found

    def close(self) -> None:
        """Look away."""
        self._file.close()


class Replay:
    """A run as it happened, faster: plays, stops and jumps. `state` is the picture after a jump."""

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
        self._looked = clock()
        self._rewind()

    def send(self, command: Command) -> None:
        """Raises RunError always."""
        raise RunError("this is a replay of what happened")

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """What happens next."""
        return [event for event, _ in self.drain_timed(timeout)]

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """The same with each event's Unix time. Does not wait."""
        looked, self._looked = self._looked, self._clock()
        if not self.playing:
            return []
        self.now = min(self._last, self.now + (self._looked - looked) * self.speed)
        if self._ahead is not None and self._ahead[1] - self.now > GAP * self.speed:
            self.now = self._ahead[1]
        return list(self._until(self.now))

    def close(self) -> None:
        """Nothing to let go of."""

    def toggle(self) -> None:
        """Play, or stop."""
        self.playing = not self.playing

    def faster(self, factor: float) -> None:
        """Play so many times as fast."""
        self.speed = min(65536.0, max(1 / 16, self.speed * factor))

    def jump(self, share: float) -> None:
        """By this share of the whole, backwards if negative."""
        self.now = min(self._last, max(self._first, self.now + share * (self._last - self._first)))
        self._rewind()
        self.state = RunState()
        for event, when in self._until(self.now):
            self.state.fold(event, when)
        self.resynchronised += 1

    @property
    def words(self) -> str:
        """Where it is and how fast it goes."""
        whole = self._last - self._first
        share = (self.now - self._first) / whole if whole else 1.0
        return f"×{self.speed:g} {share:.0%}" + ("" if self.playing else ", stopped")

    def _rewind(self) -> None:
        self._events = journal.read(self._run.journal)
        self._ahead = next(self._events, None)

    def _until(self, when: float) -> Iterator[tuple[Event, float]]:
        # After a clock that went back, later events have earlier times; the last one is the end all the same.
        while self._ahead is not None and min(self._ahead[1], self._last) <= when:
            yield self._ahead
            self._ahead = next(self._events, None)


def _decoded(lines: list[bytes]) -> Iterator[tuple[Event, float]]:
    for line in lines:
        try:
            yield decode_event(line)
        except DamagedLine:
            continue
