"""A summary of a journal up to some byte, so that a long journal need not be read from the start each time.

`index.json` is a cache: written with each checkpoint, used if the journal still holds the bytes that it was made from,
and otherwise rebuilt. Besides the digest it may hold whatever else its writer computed from the journal.
"""

import os
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

from tuitrain.errors import RunError
from tuitrain.protocol import events as e
from tuitrain.protocol.codec import VERSION, plain
from tuitrain.run import journal, sealed
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder, open_regular, read_regular
from tuitrain.run.journal import Trouble

MAX_INDEX = 16 << 20
TAIL = 4096
"""Bytes before the offset that are compared to recognise the journal."""
KINDS = (e.StepsDone, e.Evaluated, e.RolledBack, e.Undone, e.RunStarted, e.RunResumed, e.RunEnded)
"""The events that the digest summarises."""


@dataclass(slots=True)
class Digest:
    """What `tuitrain runs` and `resume` need from a journal. Losses in bits per character, Unix times."""

    step: int = 0
    last: float | None = None
    best: float | None = None
    branch: int = 0
    highest_branch: int = 0
    tips: dict[int, int] = field(default_factory=dict)
    """The last step of each branch."""
    ended: str = ""
    """Why the run ended; empty if it is running or was killed."""
    first_time: float = 0.0
    last_time: float = 0.0
    damaged: int = 0

    def fold(self, event: e.Event, when: float) -> None:
        """Update the digest with an event at Unix time `when`."""
        self.first_time = self.first_time or when
        self.last_time = max(self.last_time, when)
        match event:
            case e.StepsDone():
                self.branch, self.step = event.branch, event.first_step + len(event.loss) - 1
                self.tips[event.branch] = max(self.step, self.tips.get(event.branch, 0))
            case e.Evaluated(part=False):
                self.last = event.bpc
                self.best = event.bpc if self.best is None else min(self.best, event.bpc)
            case e.RolledBack():
                self._moved(event.branch, event.to_step)
            case e.RunResumed() | e.Undone():
                self._moved(event.branch, event.step)
            case e.RunEnded():
                self.ended = event.reason
        if isinstance(event, e.RunStarted | e.RunResumed):
            self.ended = ""
        self.highest_branch = max(self.highest_branch, self.branch)

    def _moved(self, branch: int, step: int) -> None:
        self.branch, self.step = branch, step
        self.tips[branch] = max(step, self.tips.get(branch, 0))  # a branch without steps yet ends where it begins

    def to_json(self) -> dict[str, Any]:
        """Return the digest as strict JSON."""
        return {**asdict(self), "last": plain(self.last), "best": plain(self.best),
                "tips": {str(branch): step for branch, step in self.tips.items()}}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> "Digest":
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        body = dict(body)
        tips = {int(branch): int(step) for branch, step in body.pop("tips").items()}
        for name in ("last", "best"):
            body[name] = None if body[name] is None else float(body[name])
        return cls(**body, tips=tips)


@dataclass(slots=True)
class Index:
    """A digest of the journal's first `offset` bytes, and whatever else was computed from them."""

    offset: int = 0
    digest: Digest = field(default_factory=Digest)
    extra: dict[str, Any] = field(default_factory=dict)


def load(run: RunDirectory) -> Index:
    """Return the index if it matches the journal, else an empty one."""
    try:
        body, has_checksum = sealed.parse(read_regular(open_regular(run.index, os.O_RDONLY), MAX_INDEX, run.index),
                                          MAX_INDEX)
        if not has_checksum or body["v"] != VERSION or body["tail"] != _tail(run, body["offset"]):
            return Index()
        return Index(body["offset"], Digest.of_json(body["digest"]), dict(body["extra"]))
    except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Index()


def save(run: RunDirectory, index: Index, folder: Folder | None = None) -> None:
    """Write the index into the run folder, unsynced: a stale one is rebuilt. Raises OSError or RunError."""
    body = {"v": VERSION, "offset": index.offset, "tail": _tail(run, index.offset), "digest": index.digest.to_json(),
            "extra": index.extra}
    if folder is not None:
        folder.replace(run.index.name, sealed.dump(body), "index", durable=False)
        return
    with Folder(run.path) as opened:
        opened.replace(run.index.name, sealed.dump(body), "index", durable=False)


def digest(run: RunDirectory) -> Digest:
    """Return the digest of the whole journal, read from where the index ends. Raises RunError."""
    index, trouble = load(run), Trouble()
    for event, when in journal.read(run.journal, trouble, KINDS, index.offset):
        index.digest.fold(event, when)
    index.digest.damaged += trouble.damaged
    return index.digest


def _tail(run: RunDirectory, offset: int) -> list[int]:
    """Return the crc32 and the number of the (at most TAIL) bytes before an offset of the journal."""
    fd = open_regular(run.journal, os.O_RDONLY)
    try:
        if not 0 <= offset <= os.fstat(fd).st_size:
            return []
        start = max(0, offset - TAIL)
        data = os.pread(fd, offset - start, start)
        return [zlib.crc32(data), len(data)]
    finally:
        os.close(fd)
