"""Where to begin reading a journal to be at a step, a time or an event: a survey, and states from here and there.

`replay.json` beside the journal is a cache, written by the run itself at intervals and at its end, and by a replay that
finds none or a stale one: it is used as far as the journal still begins with the bytes that it was made from, continued
if the journal has grown, and otherwise made anew. Bounded: at most 2 * FRAMES states of some thirty kilobytes each.
"""

import base64
import contextlib
import json
import os
import zlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tuitrain.errors import RunError
from tuitrain.recording.survey import Place, Survey
from tuitrain.run import journal, sealed
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder, open_regular, read_regular
from tuitrain.telemetry.run_state import LAYOUT, RunState

FILE = "replay.json"
VERSION = 1
FRAMES = 64
SPACING = 1 << 20
"""Bytes between two states, at least: that much is read quickly."""
MAX_GUIDE = 64 << 20
TAIL = 4096
"""Bytes before the end of what was read that are compared to recognise the journal."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The state after the journal's first `offset` bytes; no event among them is later than `latest` (Unix time)."""

    offset: int
    latest: float
    packed: str

    @classmethod
    def of(cls, offset: int, latest: float, state: RunState) -> "Frame":
        """Pack a state."""
        raw = json.dumps(state.to_wire(), separators=(",", ":")).encode()
        return cls(offset, latest, base64.b64encode(zlib.compress(raw, 1)).decode())

    def state(self) -> RunState:
        """Unpack it. Raises ValueError, KeyError or TypeError if it is none."""
        return RunState.from_wire(json.loads(zlib.decompress(base64.b64decode(self.packed))))


@dataclass(slots=True)
class Guide:
    """A survey of a journal and states on the way, oldest first."""

    survey: Survey = field(default_factory=Survey)
    frames: list[Frame] = field(default_factory=list)
    spacing: int = field(default_factory=lambda: SPACING)

    def read_on(self, path: Path, go_on: Callable[[int], bool] = lambda offset: True) -> bool:
        """Survey and fold what was added to the journal; False if `go_on`, told the bytes read, ended it early.

        Raises RunError if the journal is not a regular file, OSError.
        """
        self.survey.read_on(path)
        offset, state = self.before(lambda frame: True)
        latest = self.frames[-1].latest if self.frames else 0.0
        trouble = journal.Trouble(offset=offset)
        for event, when in journal.read(path, trouble, start=offset):
            if trouble.offset > self.survey.size:
                break
            state.fold(event, when)
            latest = max(latest, when)
            if self.passed(trouble.offset, latest, state) and not go_on(trouble.offset):
                return False
        return True

    def passed(self, offset: int, latest: float, state: RunState) -> bool:
        """Pack the state after `offset` bytes if the last frame is far enough behind; return whether it was."""
        if offset < self._next:
            return False
        self.frames = [*self.frames, Frame.of(offset, latest, state)]  # never changed in place: others read meanwhile
        if len(self.frames) > 2 * FRAMES:
            self.spacing *= 2
            self.frames = self.frames[1::2]
        return True

    def reaches(self, offset: int) -> bool:
        """Return whether the frames go on, without a wide gap, to a byte."""
        return offset <= self._next + self.spacing

    @property
    def _next(self) -> int:
        return (self.frames[-1].offset if self.frames else 0) + self.spacing

    def before(self, fits: Callable[[Frame], bool]) -> tuple[int, RunState]:
        """Return where to begin and the state there: of the last of the frames that fit from the first on."""
        frames = self.frames
        count = next((i for i, frame in enumerate(frames) if not fits(frame)), len(frames))
        for frame in reversed(frames[:count]):
            try:
                return frame.offset, frame.state()
            except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
                continue  # of another version: an earlier one, or the beginning
        return 0, RunState()

    def step(self, step: int) -> int | None:
        """Return the byte from which on the run was at this step for the last time; None if it never was."""
        first, last, offset = (self.survey.column(name) for name in ("first", "last", "offset"))
        where = np.flatnonzero((first <= step) & (last >= step))
        return int(offset[where[-1]]) if len(where) else None

    def event(self, offset: int, by: int) -> Place | None:
        """Return the nearest notable event that begins at or after a byte (`by` 1), or before it (-1)."""
        offsets = [place.offset for place in self.survey.events]
        at = bisect_left(offsets, offset) + (by if by < 0 else 0)
        return self.survey.events[at] if 0 <= at < len(offsets) else None


def load(run: RunDirectory) -> Guide:
    """Return the kept guide if it matches the journal, else an empty one."""
    path = run.path / FILE
    try:
        body, has_checksum = sealed.parse(read_regular(open_regular(path, os.O_RDONLY), MAX_GUIDE, path), MAX_GUIDE)
        if not has_checksum or body["v"] != VERSION or body["layout"] != LAYOUT or body["tail"] != _tail(
                run, int(body["survey"]["size"])):
            return Guide()
        return Guide(Survey.of_json(body["survey"]), [Frame(**frame) for frame in body["frames"]],
                     max(SPACING, int(body["spacing"])))
    except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Guide()


def save(run: RunDirectory, guide: Guide, folder: Folder | None = None) -> None:
    """Keep the guide beside the journal, if the folder can be written to: without it the journal is read again."""
    body: dict[str, Any] = {"v": VERSION, "layout": LAYOUT, "tail": _tail(run, guide.survey.size),
                            "spacing": guide.spacing, "survey": guide.survey.to_json(),
                            "frames": [asdict(frame) for frame in guide.frames]}
    try:
        with contextlib.nullcontext(folder) if folder is not None else Folder(run.path) as opened:
            opened.replace(FILE, sealed.dump(body), "guide", durable=False)
    except (OSError, RunError):
        return


def _tail(run: RunDirectory, offset: int) -> list[int]:
    """Return the crc32 and the number of the bytes before an offset of the journal."""
    fd = open_regular(run.journal, os.O_RDONLY)
    try:
        if not 0 <= offset <= os.fstat(fd).st_size:
            return []
        start = max(0, offset - TAIL)
        data = os.pread(fd, offset - start, start)
        return [zlib.crc32(data), len(data)]
    finally:
        os.close(fd)
