"""Events -> one line each in a file, and back. Survives kill -9, torn tails, damaged lines and a full disk."""

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuitrain.errors import RunError
from tuitrain.protocol.codec import MAX_LINE, DamagedLine, decode_event, encode
from tuitrain.protocol.events import Event, MachineUsed, SamplePiece, WorkAdvanced
from tuitrain.run import failpoints
from tuitrain.run.folder import Folder, open_regular

MAX_WAITING = 50_000
"""Lines kept in memory while the disk takes none; the oldest go first, and it is said how many."""
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
    if first is None:
        return None
    size = path.stat().st_size
    reach = TAIL
    while True:
        # What comes before the first line end there is the rest of a line, and counts as damaged.
        newest = deque(read(path, start=max(0, size - reach)), maxlen=1)
        if newest:
            return first[1], max(first[1], newest[0][1])
        reach *= 16


class Journal:
    """The one writer of a journal; the caller holds the run's lock. `sync` may come from another thread."""

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
        self._good = os.fstat(self._fd).st_size
        self._waiting: deque[bytes] = deque()
        self.dropped = 0

    def write(self, event: Event, time: float | None = None) -> None:
        """Append an event. A disk that takes nothing is tried again at the next event."""
        if isinstance(event, STREAM_ONLY):
            return
        with self._lock:
            self._waiting.append(encode(event, time).encode() + b"\n")
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._flush()

    @property
    def waiting(self) -> int:
        """Lines that the disk has not taken yet."""
        return len(self._waiting)

    def say_dropped(self) -> str:
        """How many lines were given up while the disk took none, in words; from here on they are reported."""
        count, self.dropped = self.dropped, 0
        return f"the disk took nothing for so long that {count:,} lines of the journal were given up"

    def sync(self) -> None:
        """Write what waits and make it durable. Raises OSError if the disk does not take it."""
        with self._lock:
            if self._closed:
                return
            if not self._flush():
                raise OSError(errno.ENOSPC, "the journal cannot be written")
            fd = self._fd
        os.fsync(fd)  # outside the lock: training appends meanwhile

    def close(self) -> None:
        """Write what waits, make it durable and close."""
        with self._lock:
            if self._closed:
                return
            self._flush()
            self._closed = True
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)

    def _flush(self) -> bool:
        """Write what waits; False while the disk takes nothing."""
        while self._waiting:
            if not self._append(self._waiting[0]):
                return False
            self._waiting.popleft()
        return True

    def _append(self, line: bytes) -> bool:
        """A whole line or nothing: a full disk writes short first, so what came of it is cut off again."""
        try:
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
                return False
            return False
        self._good += len(line)
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
