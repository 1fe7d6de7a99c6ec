"""Events -> one line each in a file, and back. Survives kill -9, torn tails, damaged lines and a full disk."""

import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuitrain.errors import RunError
from tuitrain.protocol.codec import MAX_LINE, DamagedLine, decode_event, encode, unseal
from tuitrain.protocol.events import (
    Event,
    MachineUsed,
    RunEnded,
    RunResumed,
    RunStarted,
    SamplePiece,
    StepsDone,
    WorkAdvanced,
)
from tuitrain.run import failpoints
from tuitrain.run.folder import Folder, open_regular

MAX_WAITING = 50_000
"""Lines kept in memory while the disk takes none; the oldest go first, and it is said how many."""
MAX_KEPT = 8 << 20
"""Bytes written since the last sync that went well which are kept in memory; older ones are read back if need be."""
STREAM_ONLY = (SamplePiece, MachineUsed, WorkAdvanced)
BLOCK = 1 << 20
TAIL = 1 << 16
"""Bytes at the end of a journal that most often hold its last event."""
_BEGIN = b'{"v":'
"""What every line begins with; others need no closer look."""


@dataclass(slots=True)
class Trouble:
    """What a reader passed over: damaged lines and bytes after the last line end. `offset`: bytes that are read."""

    damaged: int = 0
    torn: int = 0
    offset: int = 0


def read(path: Path, trouble: Trouble | None = None, kinds: tuple[type[Event], ...] = (), start: int = 0
         ) -> Iterator[tuple[Event, float]]:
    """The events of a journal (of these kinds, if any are named) with their Unix times, oldest first.

    From byte `start` on. Damage is counted, never fatal, and a line of any length takes no more memory than the
    longest one that a writer writes. Raises RunError if the journal is a link or no file.
    """
    trouble = trouble if trouble is not None else Trouble()
    wanted = [f'"kind":"{kind.__name__}"'.encode() for kind in kinds]
    for line in lines(path, trouble, start):
        if not line.startswith(_BEGIN):
            trouble.damaged += 1
            continue
        if wanted and not any(kind in line[:80] for kind in wanted):
            continue
        try:
            yield decode_event(line)
        except DamagedLine:
            trouble.damaged += 1


def lines(path: Path, trouble: Trouble, start: int = 0) -> Iterator[bytes]:
    """The whole lines of a journal from byte `start` on, without their ends; those too long are counted as damaged.

    After each line `trouble.offset` is where the next one begins.
    """
    try:
        file = open(open_regular(path, os.O_RDONLY), "rb", buffering=0)  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    trouble.offset = start
    too_long = False
    rest = b""
    with file:
        file.seek(start)
        while block := file.read(BLOCK):
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                trouble.offset += len(line) + 1
                if too_long or len(line) > MAX_LINE:
                    trouble.damaged += 1
                    too_long = False
                elif line:
                    yield line
                else:
                    trouble.damaged += 1
            if len(rest) > MAX_LINE:  # not kept: its end is awaited
                trouble.offset += len(rest)
                rest, too_long = b"", True
        trouble.torn = len(rest)
        if too_long:
            trouble.torn = max(1, trouble.torn)


def times(path: Path) -> tuple[float, float] | None:
    """The Unix times of the first and the last event, without reading what is between; None if there is none."""
    first = next(read(path), None)
    return None if first is None else (first[1], max(first[1], tail(path)[-1][1]))


def tail(path: Path) -> list[tuple[Event, float]]:
    """The last events with their Unix times, oldest first; none only if there is none in the whole journal."""
    size = path.stat().st_size if path.exists() else 0
    reach = TAIL
    while True:
        # What comes before the first line end there is the rest of a line, and counts as damaged.
        newest = list(read(path, start=max(0, size - reach)))
        if newest or reach >= size:
            return newest
        reach *= 16


def has_ended(path: Path) -> bool:
    """Whether the run said goodbye and has not gone on since. Raises RunError if the journal is a link or no file."""
    for event, _ in reversed(tail(path)):
        if isinstance(event, RunEnded):
            return True
        if isinstance(event, RunStarted | RunResumed | StepsDone):
            return False
    return False


class Journal:
    """The one writer of a journal; the caller holds the run's lock. `sync` may come from another thread.

    After an fsync that failed the kernel takes the pages for written, and a later one that succeeds says nothing of
    them. So what was written since the last good one is written again before the next.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._closed = False
        try:
            with Folder(path.parent) as folder:
                self.torn = _set_torn_aside(folder, path.name)
                """Bytes after the last line end that were moved to `journal.torn`."""
                self._fd = folder.open(path.name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                folder.sync()
        except OSError as error:
            raise RunError(f"{path}: {error.strerror or error}; a run needs a folder that can be written to") from None
        self._good = self._durable = os.fstat(self._fd).st_size
        """Bytes that are whole lines, and bytes that a sync is known to have made durable."""
        self._ragged = False
        """Whether half a line stands behind the good bytes, because it could not be cut off."""
        self._doubtful = False
        """Whether the last sync failed."""
        self._rewritten = self._lost = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._waiting: deque[bytes] = deque()
        self.dropped = 0

    def write(self, event: Event, time: float | None = None) -> None:
        """Append an event. A disk that takes nothing is tried again at the next event."""
        if isinstance(event, STREAM_ONLY):
            return
        with self._lock:
            if self._closed:
                return  # a client that leaves after the end
            self._waiting.append(encode(event, time).encode() + b"\n")
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._flush()

    @property
    def waiting(self) -> int:
        """Lines that the disk has not taken yet."""
        return len(self._waiting)

    def news(self) -> list[str]:
        """What the disk did to the journal and is over now, a sentence each; told once."""
        said = []
        if self.dropped and not self._waiting:
            said.append(f"the disk took nothing for so long that {self.dropped:,} lines of the journal were given up")
            self.dropped = 0
        if self._rewritten and not self._doubtful:
            lost = f"; {self._lost:,} lines of it could not be read any more" if self._lost else ""
            said.append(f"the disk failed to make the journal durable and does so again: its last "
                        f"{self._rewritten:,} bytes were written once more{lost}")
            self._rewritten = self._lost = 0
        return said

    def sync(self) -> None:
        """Write what waits and make it durable. Raises OSError if the disk does not take it."""
        with self._lock:
            if self._closed:
                return
            if not self._flush():
                raise OSError(errno.ENOSPC, "the journal cannot be written")
            if self._doubtful:
                self._rewrite()
            fd, end = self._fd, self._good
        try:
            os.fsync(fd)  # outside the lock: training appends meanwhile
        except OSError:
            with self._lock:
                self._doubtful = True
            raise
        with self._lock:
            self._doubtful = False
            while self._kept and self._good - self._kept_bytes < end:
                self._kept_bytes -= len(self._kept.popleft())
            self._durable = end

    def close(self) -> str:
        """Write what waits, make it durable and close; why that failed, if it did."""
        failed = ""
        for _ in range(2):  # what a failed one may have lost, the second writes again
            try:
                self.sync()
            except OSError as error:
                failed = error.strerror or str(error)
            else:
                failed = ""
                break
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)
        return failed

    def _flush(self) -> bool:
        """Write what waits; False while the disk takes nothing."""
        while self._waiting:
            if not self._append(self._waiting[0]):
                return False
            self._kept.append(self._waiting.popleft())
            self._kept_bytes += len(self._kept[-1])
            while self._kept_bytes > MAX_KEPT:
                self._kept_bytes -= len(self._kept.popleft())
        return True

    def _append(self, line: bytes) -> bool:
        """A whole line or nothing: a full disk writes short first, so what came of it is cut off again."""
        try:
            if self._ragged:
                os.ftruncate(self._fd, self._good)
                self._ragged = False
            failpoints.reached("line-before-write")
            written = 0
            if os.environ.get("TUITRAIN_FAILPOINT", "").startswith("line-half-written"):
                written = os.write(self._fd, line[: len(line) // 2])
                failpoints.reached("line-half-written")
            while written < len(line):
                count = os.write(self._fd, line[written:])
                if count == 0:
                    raise OSError(errno.ENOSPC, "nothing was written")
                written += count
            failpoints.reached("line-written")
        except OSError:
            try:
                os.ftruncate(self._fd, self._good)
            except OSError:
                self._ragged = True
            return False
        self._good += len(line)
        return True

    def _rewrite(self) -> None:
        """Write what came since the last good sync again, in its place: lines kept, and before them those of the file.

        Raises OSError.
        """
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        # With O_APPEND a write goes to the end, whatever place it is given.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
        try:
            kept_from = self._good - self._kept_bytes
            place, self._lost = self._durable, 0
            while place < kept_from:
                block = os.pread(self._fd, min(MAX_LINE, kept_from - place), place)
                block = block[: block.rfind(b"\n") + 1] or block
                if not block:
                    break
                self._lost += sum(not _is_whole(line) for line in block.splitlines())
                self._put(block, place)
                place += len(block)
            place = kept_from
            for line in self._kept:
                self._put(line, place)
                place += len(line)
            self._rewritten = self._good - self._durable
        finally:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)

    def _put(self, data: bytes, place: int) -> None:
        while data:
            count = os.pwrite(self._fd, data, place)
            if count == 0:
                raise OSError(errno.ENOSPC, "nothing was written")
            data, place = data[count:], place + count


def _is_whole(line: bytes) -> bool:
    try:
        unseal(line)
    except DamagedLine:
        return False
    return True


def _set_torn_aside(folder: Folder, name: str) -> int:
    """Move bytes after the last line end to `journal.torn`, and say how many; they are evidence, never deleted."""
    try:
        fd = folder.open(name, os.O_RDWR)
    except FileNotFoundError:
        return 0
    with open(fd, "rb+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        end = _last_line_end(fd, size)
        if end == size:
            return 0
        with open(folder.open(str(Path(name).with_suffix(".torn")), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
                  "ab") as aside:
            for start in range(end, size, BLOCK):
                aside.write(os.pread(fd, min(BLOCK, size - start), start))
            aside.write(b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        file.truncate(end)
        return size - end


def _last_line_end(fd: int, size: int) -> int:
    block = 1 << 16
    position = size
    while position > 0:
        start = max(0, position - block)
        found = os.pread(fd, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
