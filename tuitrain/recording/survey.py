"""What lies where in a journal: found from the first bytes of its lines, without decoding them; bounded in memory.

A journal of a million steps is surveyed in about a second. Entries of steps are merged in pairs when there are too
many, so that a survey has at most `MOST` of them whatever the length of the run.
"""

import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.run import journal
from tuitrain.telemetry.lineage import Segment

MOST = 1 << 14
"""Entries of steps: one for 64 steps of a million."""
MOST_EVENTS = 20_000
_STEPS = re.compile(rb'\{"v":\d+,"kind":"StepsDone","time":(\d+(?:\.\d+)?),"branch":(\d{1,9}),"first_step":(\d{1,15}),')
_EVENT = re.compile(rb'\{"v":\d+,"kind":"(\w+)","time":(\d+(?:\.\d+)?),')
_SECONDS = re.compile(rb'"seconds":(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?),"crc":\d+\}\Z')
_LOSS, _AFTER_LOSS = b'"loss":[', b']'
_FIELDS = {"offset": "q", "time": "d", "branch": "q", "first": "q", "last": "q", "seconds": "d"}
NOTABLE = frozenset({
    "KnobChanged", "PromptChanged", "RolledBack", "Undone", "LandingStarted", "NoteAdded", "Paused", "Continued",
    "GuardModeChanged", "StepSkipped", "WarningRaised", "AlarmRaised", "VerdictReached", "SavingFailed", "RunResumed",
    "RunEnded", "RaceStarted", "RaceEnded"})
"""Kinds of events that somebody who winds a replay wants to stop at."""
_BY_ITSELF = re.compile(rb'"kind":"KnobChanged".*"id":""')
"""A knob that the engine turned, or one that changed along with another."""


@dataclass(frozen=True, slots=True)
class Place:
    """A notable event: the byte at which its line begins, its Unix time and its kind."""

    offset: int
    time: float
    kind: str


@dataclass(slots=True)
class Survey:
    """The first `size` bytes of a journal. Entries of steps are in the order of the journal."""

    size: int = 0
    each: int = 1
    """Lines that an entry stands for, at most."""
    events: list[Place] = field(default_factory=list)
    _columns: dict[str, "array[Any]"] = field(
        default_factory=lambda: {name: array(kind) for name, kind in _FIELDS.items()})
    _open: int = 0
    """Lines in the last entry."""

    def column(self, name: str) -> NDArray[np.float64]:
        """Return `offset`, `time`, `branch`, `first`, `last` or `seconds` of every entry.

        Time is that of the first line, `seconds` are those of all lines of the entry.
        """
        return np.array(self._columns[name], dtype=float)

    def __len__(self) -> int:
        return len(self._columns["offset"])

    def read_on(self, path: Path) -> None:
        """Survey what was added to a journal. Raises RunError if it is not a regular file, OSError."""
        trouble = journal.Trouble(offset=self.size)
        for line in journal.lines(path, trouble, self.size):
            self._take(line, trouble.offset - len(line) - 1)
        self.size = trouble.offset

    def clock(self, path: tuple[Segment, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (steps, seconds) of the line with these segments: the training time up to each of the steps."""
        branch, first, last, seconds = (self.column(name) for name in ("branch", "first", "last", "seconds"))
        steps, spent = [0.0], [0.0]
        for part in path:
            for i in np.flatnonzero((branch == part.branch) & (first <= part.last) & (last >= part.first)):
                low, high = max(first[i], part.first), min(last[i], part.last)
                if high > steps[-1]:
                    share = (high - low + 1) / (last[i] - first[i] + 1)
                    steps.append(float(high))
                    spent.append(spent[-1] + float(seconds[i]) * share)
        return np.array(steps), np.array(spent)

    def to_json(self) -> dict[str, Any]:
        """Return it as strict JSON."""
        return {"size": self.size, "each": self.each, "open": self._open,
                "events": [[place.offset, place.time, place.kind] for place in self.events],
                **{name: values.tolist() for name, values in self._columns.items()}}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> "Survey":
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        columns = {name: array(kind, body[name]) for name, kind in _FIELDS.items()}
        if len({len(column) for column in columns.values()}) != 1 or len(columns["offset"]) > MOST:
            raise ValueError("the columns of a survey are of different lengths")
        events = [Place(int(offset), float(time), str(kind)) for offset, time, kind in body["events"][-MOST_EVENTS:]]
        return cls(int(body["size"]), int(body["each"]), events, columns, int(body["open"]))

    def _take(self, line: bytes, offset: int) -> None:
        if match := _STEPS.match(line):
            begin = line.find(_LOSS, match.end() - 1)
            end = line.find(_AFTER_LOSS, begin)
            if begin < 0 or end <= begin + len(_LOSS):
                return
            first = int(match[3])
            last = first + line.count(b",", begin, end)
            spent = _SECONDS.search(line)
            self._steps(offset, float(match[1]), int(match[2]), first, last, float(spent[1]) if spent else 0.0)
            return
        match = _EVENT.match(line)
        if match and match[1].decode() in NOTABLE and not _BY_ITSELF.search(line[:4096]):
            self.events.append(Place(offset, float(match[2]), match[1].decode()))
            del self.events[:-MOST_EVENTS]

    def _steps(self, offset: int, time: float, branch: int, first: int, last: int, seconds: float) -> None:
        columns = self._columns
        follows = len(self) and branch == columns["branch"][-1] and first == columns["last"][-1] + 1
        if follows and self._open < self.each:
            columns["last"][-1] = last
            columns["seconds"][-1] += seconds
            self._open += 1
            return
        for name, value in zip(_FIELDS, (offset, time, branch, first, last, seconds), strict=True):
            columns[name].append(value)
        self._open = 1
        if len(self) > MOST:
            self._merge()

    def _merge(self) -> None:
        """Let an entry stand for twice as many lines; those of different branches, or with a gap between, stay two."""
        self.each *= 2
        old = list(zip(*self._columns.values(), strict=True))
        self._columns = {name: array(kind) for name, kind in _FIELDS.items()}
        merged: list[list[float]] = []
        pair = False
        for entry in old:
            offset, time, branch, first, last, seconds = entry
            if pair and merged[-1][2] == branch and merged[-1][4] + 1 == first:
                merged[-1][4], merged[-1][5] = last, merged[-1][5] + seconds
                pair = False
            else:
                merged.append([offset, time, branch, first, last, seconds])
                pair = True
        # Of branches of a few steps each, which cannot be merged, the oldest are not worth more memory.
        for kept in merged[-MOST // 2 - 1 :] if len(merged) > MOST else merged:
            for name, value in zip(_FIELDS, kept, strict=True):
                self._columns[name].append(value)
        self._open = self.each
