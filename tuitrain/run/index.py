"""What a journal says up to some byte of it, so that a long one need not be read from its beginning each time.

`index.json` is a cache: written beside each checkpoint, used if the journal still has the bytes that it was made of,
and made anew from the journal otherwise. Beside the digest it may hold whatever its writer folded out of the journal.
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
"""Bytes before the offset by which the journal is recognised."""
KINDS = (e.StepsDone, e.Evaluated, e.RolledBack, e.Undone, e.RunStarted, e.RunResumed, e.RunEnded)
"""What the digest is made of."""


@dataclass(slots=True)
class Digest:
    """What a table of runs and a resume need to know of a journal. Bits per character; Unix times."""

    step: int = 0
    last: float | None = None
    best: float | None = None
    branch: int = 0
    highest_branch: int = 0
    tips: dict[int, int] = field(default_factory=dict)
    """The last step of each branch."""
    ended: str = ""
    """Why the run ended; empty if it goes on or ended without a word."""
    first_time: float = 0.0
    last_time: float = 0.0
    damaged: int = 0

    def fold(self, event: e.Event, when: float) -> None:
        """Take an event in."""
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
        """Plain JSON."""
        return {**asdict(self), "last": plain(self.last), "best": plain(self.best),
                "tips": {str(branch): step for branch, step in self.tips.items()}}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> "Digest":
        """What `to_json` told. Raises KeyError, TypeError or ValueError if it did not."""
        body = dict(body)
        tips = {int(branch): int(step) for branch, step in body.pop("tips").items()}
        for name in ("last", "best"):
            body[name] = None if body[name] is None else float(body[name])
        return cls(**body, tips=tips)


@dataclass(slots=True)
class Index:
    """A digest of the journal's first `offset` bytes, and what else was folded from them."""

    offset: int = 0
    digest: Digest = field(default_factory=Digest)
    extra: dict[str, Any] = field(default_factory=dict)


def load(run: RunDirectory) -> Index:
    """The index if it fits the journal, else an empty one."""
    try:
        body, has_checksum = sealed.parse(read_regular(open_regular(run.index, os.O_RDONLY), MAX_INDEX, run.index),
                                          MAX_INDEX)
        if not has_checksum or body["v"] != VERSION or body["tail"] != _tail(run, body["offset"]):
            return Index()
        return Index(body["offset"], Digest.of_json(body["digest"]), dict(body["extra"]))
    except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Index()


def save(run: RunDirectory, index: Index, folder: Folder | None = None) -> None:
    """Write it into the run's folder. Raises OSError or RunError. Not synced: what does not fit is made anew."""
    body = {"v": VERSION, "offset": index.offset, "tail": _tail(run, index.offset), "digest": index.digest.to_json(),
            "extra": index.extra}
    if folder is not None:
        folder.replace(run.index.name, sealed.dump(body), "index", durable=False)
        return
    with Folder(run.path) as opened:
        opened.replace(run.index.name, sealed.dump(body), "index", durable=False)


def digest(run: RunDirectory) -> Digest:
    """The digest of the whole journal, read from where the index ends. Raises RunError."""
    index, trouble = load(run), Trouble()
    for event, when in journal.read(run.journal, trouble, KINDS, index.offset):
        index.digest.fold(event, when)
    index.digest.damaged += trouble.damaged
    return index.digest


def _tail(run: RunDirectory, offset: int) -> list[int]:
    """The crc32 of the bytes before an offset of the journal, and how many they are."""
    fd = open_regular(run.journal, os.O_RDONLY)
    try:
        if not 0 <= offset <= os.fstat(fd).st_size:
            return []
        start = max(0, offset - TAIL)
        data = os.pread(fd, offset - start, start)
        return [zlib.crc32(data), len(data)]
    finally:
        os.close(fd)
