"""Events -> one line each in a file, and back. Survives kill -9, torn tails, damaged lines and a full disk."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuitrain.protocol.codec import DamagedLine, decode_event, encode
from tuitrain.protocol.events import Event, MachineUsed, SamplePiece

MAX_WAITING = 50_000
"""Lines kept in memory while the disk takes none; the oldest go first, and it is said how many."""
STREAM_ONLY = (SamplePiece, MachineUsed)


@dataclass(slots=True)
class Trouble:
    """What a reader passed over: damaged lines and bytes after the last line end."""

    damaged: int = 0
    torn: int = 0


def read(path: Path, trouble: Trouble | None = None,
         kinds: tuple[type[Event], ...] = ()) -> Iterator[tuple[Event, float]]:
    """The events of a journal (of these kinds, if any are named) with their Unix times, oldest first.

    Damage is counted, never fatal.
    """
    trouble = trouble if trouble is not None else Trouble()
    wanted = [f'"kind":"{kind.__name__}"'.encode() for kind in kinds]
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                trouble.torn = len(line)
                return
            if wanted and not any(kind in line[:80] for kind in wanted):
                continue
            try:
                yield decode_event(line)
            except DamagedLine:
                trouble.damaged += 1


class Journal:
    """The one writer of a journal; the caller holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _set_torn_aside(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._good = os.fstat(self._fd).st_size
        self._waiting: deque[bytes] = deque()
        self.dropped = 0

    def write(self, event: Event, time: float | None = None) -> None:
        """Append an event. A disk that takes nothing is tried again at the next event."""
        if isinstance(event, STREAM_ONLY):
            return
        self._waiting.append(encode(event, time).encode() + b"\n")
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self.flush()

    def flush(self) -> bool:
        """Write what waits; False while the disk takes nothing."""
        while self._waiting:
            if not self._append(self._waiting[0]):
                return False
            self._waiting.popleft()
        return True

    def sync(self) -> None:
        """Make what was written durable."""
        try:
            os.fsync(self._fd)
        except OSError:
            return  # the next checkpoint will say that the disk is in trouble

    def close(self) -> None:
        """Write what waits and close."""
        self.flush()
        os.close(self._fd)

    def _append(self, line: bytes) -> bool:
        """A whole line or nothing: a full disk writes short first, so what came of it is cut off again."""
        try:
            written = 0
            while written < len(line):
                count = os.write(self._fd, line[written:])
                if count == 0:
                    raise OSError(28, "nothing was written")
                written += count
        except OSError:
            try:
                os.ftruncate(self._fd, self._good)
            except OSError:
                return False
            return False
        self._good += len(line)
        return True


def _set_torn_aside(path: Path) -> None:
    """Move bytes after the last line end to `journal.torn`; they are evidence, never deleted."""
    try:
        with open(path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            end = _last_line_end(file.fileno(), size)
            if end == size:
                return
            torn = os.pread(file.fileno(), size - end, end)
            with open(path.with_suffix(".torn"), "ab") as aside:
                aside.write(torn + b"\n")
            file.truncate(end)
    except FileNotFoundError:
        return


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
