"""Read-only sessions from a journal: following a run that has no socket, and replaying one."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuitrain.errors import RunError
from tuitrain.protocol.codec import DamagedLine, decode_event
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event, RunEnded
from tuitrain.recording import guide
from tuitrain.recording.past import Past
from tuitrain.recording.survey import Place
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, host_of, is_alive
from tuitrain.run.folder import open_regular
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session, Tape

LASTS = 60.0
"""Approximate length of a replay in seconds at its initial speed."""
GAP = 2.0
"""Seconds of replay time above which a gap (a pause, the days until a resume) is skipped."""
PATIENCE = 5.0
"""Seconds that leaving waits for the index to be written."""
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


@dataclass(frozen=True, slots=True)
class _Wish:
    """A jump that waits until the index has come as far as it goes."""

    what: str
    known: Callable[[], bool]
    go: Callable[[], bool]


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
        self.guide = guide.load(run)
        """Makes jumps quick."""
        self._indexing: threading.Thread | None = None
        self._surveyed = self._leaving = False
        self._share = 0.0
        """Of the journal, that is indexed."""
        self._wish: _Wish | None = None
        self._remark = ""
        self._at = self._stands = 0
        """The byte at which the next event begins, and that of the event the tape was wound to."""
        self._begin()

    def index(self) -> None:
        """Begin, in a thread, to read what the guide lacks; jumps that need it wait, the screen does not."""
        size = self._run.journal.stat().st_size
        if self.guide.survey.size < size or not self.guide.reaches(size):
            self._indexing = threading.Thread(target=self._index, name="index", daemon=True)
            self._indexing.start()

    def send(self, command: Command) -> None:
        """Raise RunError: a replay takes no commands."""
        raise RunError("this is a replay: it takes no commands")

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events due since the last call, each with its Unix time. Does not wait."""
        before, self._drained = self._drained, self._clock()
        wish = self._wish
        if wish is not None:
            if self._behind and not wish.known():
                return []
            self._wish = None
            wish.go()
        if not self.playing:
            return []
        self.now = min(self._last, self.now + (self._drained - before) * self.speed)
        if self._next is not None and self._next[1] - self.now > GAP * self.speed:
            self.now = self._next[1]
        return list(self._until(self.now))

    def close(self) -> None:
        """End the indexing; what it has found is kept."""
        self._leaving = True
        if self._indexing is not None:
            self._indexing.join(PATIENCE)

    def toggle(self) -> None:
        """Stop or continue playing."""
        self.playing = not self.playing

    def faster(self, factor: float) -> None:
        """Multiply the speed by a factor, within 1/16 and 65536."""
        self.speed = min(65536.0, max(1 / 16, self.speed * factor))

    def jump(self, share: float) -> None:
        """Jump by this share of the whole recording, backwards if negative."""
        self.now = min(self._last, max(self._first, self.now + share * (self._last - self._first)))
        self._wind("winding", lambda: any(frame.latest > self.now for frame in self.guide.frames), self._to_time)

    def to_step(self, step: int) -> bool:
        """Go to where the run was at a step for the last time, and stop; False if it never was there."""
        def known() -> bool:
            offset = self.guide.step(step) if self._surveyed else None
            return self._surveyed and (offset is None or self.guide.reaches(offset))

        return self._wind(f"going to step {step:,}", known, lambda: self._to_step(step))

    def to_event(self, by: int) -> bool:
        """Go to the next notable event (`by` 1) or the one before (-1), and stop; False if there is none."""
        def known() -> bool:
            place = self._event(by) if self._surveyed else None
            return self._surveyed and (place is None or self.guide.reaches(place.offset))

        return self._wind("going to the next event" if by > 0 else "going to the event before", known,
                          lambda: self._to_event(by))

    @property
    def words(self) -> str:
        """Speed and position, for a person."""
        whole = self._last - self._first
        share = (self.now - self._first) / whole if whole else 1.0
        what = f", {self._wish.what}" if self._wish is not None else "" if self.playing else ", stopped"
        index = f" (indexed: {self._share:.0%})" if self._behind else ""
        return f"×{self.speed:g} {share:.0%}{what}{index}{self._remark}"

    @property
    def _behind(self) -> bool:
        return self._indexing is not None and self._indexing.is_alive()

    def _index(self) -> None:
        size = max(1, self._run.journal.stat().st_size)

        def go_on(offset: int) -> bool:
            self._share = offset / size
            return not self._leaving

        try:
            self.guide.survey.read_on(self._run.journal)
            self._surveyed = True
            self.guide.read_on(self._run.journal, go_on)
            guide.save(self._run, self.guide)
        except (OSError, RunError):
            return  # a journal that went away; what is on the screen stays there

    def _wind(self, what: str, known: Callable[[], bool], go: Callable[[], bool]) -> bool:
        """Go there now, or as soon as the index has come as far; False if there is no such place."""
        self._remark, self._wish = "", None
        if self._behind and not known():
            self._wish = _Wish(what, known, go)
            return True
        return go()

    def _to_time(self) -> bool:
        # After the clock was set back, later events have earlier times: what counts is the latest so far.
        offset, self.state = self.guide.before(lambda frame: frame.latest <= self.now)
        self._begin(offset)
        for event, when in self._until(self.now):
            self.state.fold(event, when)
        self.resynchronised += 1
        return True

    def _to_step(self, step: int) -> bool:
        self._survey()
        offset = self.guide.step(step)
        if offset is None:
            self._remark = f"; never at step {step:,}"
            return False
        self._go(offset, lambda: self.state.step >= step)
        return True

    def _to_event(self, by: int) -> bool:
        self._survey()
        place = self._event(by)
        if place is None:
            self._remark = "; no event after this" if by > 0 else "; no event before this"
            return False
        self._go(place.offset, lambda: True)
        self._stands = place.offset
        return True

    def _event(self, by: int) -> Place | None:
        # The event that the tape stands behind is not the one before.
        return self.guide.event(self._at if by > 0 else max(0, self._stands), by)

    def _go(self, offset: int, there: Callable[[], bool]) -> None:
        """Fold up to the event that begins at the byte `offset`, and on until it is `there`."""
        start, self.state = self.guide.before(lambda frame: frame.offset <= offset)
        self._begin(start)
        while self._next is not None:
            event, self.now = self._next
            ends = self._trouble.offset
            self.state.fold(event, self.now)
            self._advance()
            if ends > offset and there():
                break
        self.now = min(self._last, max(self._first, self.now))
        self._stands, self.playing = self._at, False
        self.resynchronised += 1

    def _survey(self) -> None:
        if not self._behind:  # it has done so
            self.guide.survey.read_on(self._run.journal)

    def _begin(self, offset: int = 0) -> None:
        self._trouble = journal.Trouble(offset=offset)
        self._events = journal.read(self._run.journal, self._trouble, start=offset)
        self._at = self._stands = offset
        self._advance()

    def _advance(self) -> None:
        """Read the next event; `_at` is a byte at or before its beginning, and behind all before it."""
        self._at = self._trouble.offset
        self._next = next(self._events, None)

    def _until(self, when: float) -> Iterator[tuple[Event, float]]:
        # After the clock was set back, later events have earlier times; the last one still marks the end.
        while self._next is not None and min(self._next[1], self._last) <= when:
            yield self._next
            self._advance()
            self._stands = self._at


def _decoded(lines: list[bytes]) -> Iterator[tuple[Event, float]]:
    for line in lines:
        try:
            yield decode_event(line)
        except DamagedLine:
            continue
