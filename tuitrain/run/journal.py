"""Write events to a file, one line each, and read them back; survives kill -9, torn or damaged lines and full disks."""

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
"""Lines kept in memory while the disk accepts none; the oldest are dropped first and their number is reported."""
MAX_KEPT = 8 << 20
"""Bytes written since the last successful sync that are kept in memory; older ones are read back if needed."""
STREAM_ONLY = (SamplePiece, MachineUsed, WorkAdvanced)
BLOCK = 1 << 20
TAIL = 1 << 16
"""Bytes at the end of a journal that usually hold its last event."""
_BEGIN = b'{"v":'
"""The start of every line; anything else is damage and is not parsed."""


@dataclass(slots=True)
class Trouble:
    """What a reader skipped: damaged lines, and bytes of an incomplete last line; `offset` counts the bytes read."""

    damaged: int = 0
    torn: int = 0
    offset: int = 0


def read(path: Path, trouble: Trouble | None = None, kinds: tuple[type[Event], ...] = (), start: int = 0
         ) -> Iterator[tuple[Event, float]]:
    """Yield the events of a journal (of these `kinds`, if given) from byte `start` with their Unix times, oldest first.

    Damage is counted in `trouble` and never fatal; a line of any length needs no more memory than the longest valid
    one. Raises RunError if the journal is not a regular file.
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
    """Yield the complete lines of a journal from byte `start`, without newlines; overlong ones count as damaged.

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
            if len(rest) > MAX_LINE:  # discarded up to its end
                trouble.offset += len(rest)
                rest, too_long = b"", True
        trouble.torn = len(rest)
        if too_long:
            trouble.torn = max(1, trouble.torn)


def times(path: Path) -> tuple[float, float] | None:
    """Return the Unix times of the first and last event without reading those between; None if there are none."""
    first = next(read(path), None)
    return None if first is None else (first[1], max(first[1], tail(path)[-1][1]))


def tail(path: Path) -> list[tuple[Event, float]]:
    """Return the last events with their Unix times, oldest first; empty only if the journal has no event."""
    size = path.stat().st_size if path.exists() else 0
    reach = TAIL
    while True:
        # The first line there is usually cut off, and counts as damaged.
        newest = list(read(path, start=max(0, size - reach)))
        if newest or reach >= size:
            return newest
        reach *= 16


def has_ended(path: Path) -> bool:
    """Whether the run ended in order and was not resumed. Raises RunError if the journal is not a regular file."""
    for event, _ in reversed(tail(path)):
        if isinstance(event, RunEnded):
            return True
        if isinstance(event, RunStarted | RunResumed | StepsDone):
            return False
    return False


class Journal:
    """The only writer of a journal; the caller holds the run's lock. `sync` may be called from another thread.

    After a failed fsync the kernel marks the pages as clean, so a later success proves nothing about them. Everything
    written since the last successful fsync is therefore written again before the next one.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._closed = False
        try:
            with Folder(path.parent) as folder:
                self.torn = _move_torn_line(folder, path.name)
                """Bytes of an incomplete last line that were moved to `journal.torn`."""
                self._fd = folder.open(path.name, os.O_RDWR | os.O_CREAT | os.O_APPEND)
                folder.sync()
        except OSError as error:
            raise RunError(f"{path}: {error.strerror or error}; a run needs a folder that can be written to") from None
        self._good = self._durable = os.fstat(self._fd).st_size
        """Bytes that are complete lines, and bytes known to be durable."""
        self._ragged = False
        """Whether a partial line follows the good bytes because truncating it failed."""
        self._doubtful = False
        """Whether the last sync failed."""
        self._rewritten = self._lost = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._waiting: deque[bytes] = deque()
        self.dropped = 0

    def write(self, event: Event, time: float | None = None) -> None:
        """Append an event. If the disk refuses, the line is kept and retried at the next event."""
        if isinstance(event, STREAM_ONLY):
            return
        with self._lock:
            if self._closed:
                return  # a client that left after the end
            self._waiting.append(encode(event, time).encode() + b"\n")
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._flush()

    @property
    def waiting(self) -> int:
        """Number of lines that are not on disk yet."""
        return len(self._waiting)

    def news(self) -> list[str]:
        """Return one sentence for each disk problem that is over; each is returned once."""
        messages = []
        if self.dropped and not self._waiting:
            messages.append(f"the disk was unwritable for so long that {self.dropped:,} lines of the journal were lost")
            self.dropped = 0
        if self._rewritten and not self._doubtful:
            lost = f"; {self._lost:,} lines of it could not be read back" if self._lost else ""
            messages.append(f"syncing the journal to disk failed and works again: its last {self._rewritten:,} bytes "
                            f"were rewritten{lost}")
            self._rewritten = self._lost = 0
        return messages

    def sync(self) -> None:
        """Write the waiting lines and make them durable. Raises OSError if the disk refuses."""
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
        """Write the waiting lines, make them durable and close; return why that failed, empty if it did not."""
        failed = ""
        for _ in range(2):  # the second attempt rewrites what a failed first one may have lost
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
        """Write the waiting lines; False if the disk refused one."""
        while self._waiting:
            if not self._append(self._waiting[0]):
                return False
            self._kept.append(self._waiting.popleft())
            self._kept_bytes += len(self._kept[-1])
            while self._kept_bytes > MAX_KEPT:
                self._kept_bytes -= len(self._kept.popleft())
        return True

    def _append(self, line: bytes) -> bool:
        """Append a complete line or nothing: a partial write on a full disk is truncated again."""
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
        """Write everything since the last successful sync again in place: lines from memory, older ones from the file.

        Raises OSError.
        """
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        # With O_APPEND pwrite ignores its offset and appends.
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


def _move_torn_line(folder: Folder, name: str) -> int:
    """Move an incomplete last line to `journal.torn` and return its bytes; it is evidence and never deleted."""
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
                  "ab") as torn:
            for start in range(end, size, BLOCK):
                torn.write(os.pread(fd, min(BLOCK, size - start), start))
            torn.write(b"\n")
            torn.flush()
            os.fsync(torn.fileno())
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
