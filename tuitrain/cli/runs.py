"""Print a table of runs: state, step, last and best validation bpc, branches, size, age.

example: tuitrain runs
"""

import argparse
import math
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuitrain.errors import RunError
from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.protocol.codec import DamagedLine, decode_event
from tuitrain.run.directory import RunDirectory, find_runs, state_of
from tuitrain.telemetry.units import duration, safe, size

DEFAULT = "runs"
BUDGET = 2.0
"""Seconds for the journal of one run: a damaged one must not delay the table."""
LARGEST_CONFIG = 64 << 20
KIND = re.compile(rb'\{"v":\d+,"kind":"(\w+)"')
KINDS = (b"Evaluated", b"RolledBack", b"RunResumed", b"RunEnded")
HEAD = ("run", "state", "step", "last", "best", "branches", "size", "age")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder that holds the runs."""
    parser.add_argument("dir", metavar="DIR", nargs="?", default=DEFAULT,
                        help="the folder that holds the runs (default runs)")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; an unreadable run has a row with the reason. Raises RunError if there is no such folder."""
    parent = Path(arguments.dir)
    if arguments.dir != DEFAULT and not parent.is_dir():
        raise RunError(f"{parent}: {'not a folder' if parent.exists() else 'no such folder'}; "
                       "name one that holds runs")
    found = [RunDirectory(parent)] if (parent / "config.json").is_file() else find_runs(parent)
    if not found:
        print(f"tuitrain: there are no runs under {parent}/", file=sys.stderr)
        return 0
    rows = [HEAD, *(_row(folder) for folder in found)]
    widths = [max(len(row[i]) for row in rows if len(row) == len(HEAD)) for i in range(len(HEAD))]
    for row in rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w)
                 for i, (cell, w) in enumerate(zip(row, widths, strict=False))]
        print("  ".join(cells).rstrip() if len(row) == len(HEAD) else f"{row[0].ljust(widths[0])}  {row[1]}")
    return 0


def _row(folder: RunDirectory) -> tuple[str, ...]:
    """Return the columns of a run, or its name and why it cannot be read. One bad run must never hide the others."""
    name = safe(str(folder.path))
    try:
        if folder.config.stat().st_size > LARGEST_CONFIG:
            raise RunError(f"{folder.config.name} is too large to be one")
        folder.read_config()
        return name, *_columns(folder)
    except RecursionError:
        return name, "unreadable: config.json is nested too deeply"
    except Exception as error:
        return name, "unreadable: " + safe(" ".join((str(error) or type(error).__name__).split()))


@dataclass(slots=True)
class Summary:
    """The contents of a journal as far as the table shows them."""

    step: int = 0
    last: float = math.nan
    best: float = math.inf
    branches: int = 1
    state: str = "interrupted"
    damaged: int = 0
    whole: bool = True


def summary(path: Path, seconds: float = BUDGET, clock: Callable[[], float] = time.monotonic) -> Summary:
    """Read a journal for at most `seconds`; `whole` is False if that was too short. Raises OSError, RunError."""
    found, deadline, steps = Summary(), clock() + seconds, b""
    for line in _lines(path):
        match = KIND.match(line)
        if match is None:
            found.damaged += 1
        elif match[1] == b"StepsDone":
            steps = line  # only the last in a row counts: the others need not be decoded
        elif match[1] in KINDS:
            _take(found, steps)
            steps = b""
            _take(found, line)
        if clock() > deadline:
            found.whole = False
            break
    _take(found, steps)
    return found


def _take(found: Summary, line: bytes) -> None:
    if not line:
        return
    try:
        event, _ = decode_event(line)
    except (DamagedLine, RecursionError, OverflowError):
        found.damaged += 1
        return
    match event:
        case e.StepsDone():
            found.step = event.first_step + len(event.loss) - 1
        case e.Evaluated(part=False):
            found.last, found.best = event.bpc, min(found.best, event.bpc)
        case e.RolledBack():
            found.step, found.branches = event.to_step, max(found.branches, event.branch + 1)
        case e.RunResumed():
            found.step, found.branches = event.step, max(found.branches, event.branch + 1)
            found.state = "interrupted"  # until the next RunEnded
        case e.RunEnded():
            found.step, found.state = event.step, event.reason


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a regular file; a line longer than a message may be is yielded empty."""
    try:
        # Does not wait for the writer of a FIFO, nor follow a link out of the folder.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path.name}: {error.strerror or error}") from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise RunError(f"{path.name} is not a regular file")
        skipping = False
        while line := file.readline(codec.MAX_LINE):
            if line.endswith(b"\n"):
                yield b"" if skipping else line
                skipping = False
            else:
                skipping = True


def _columns(folder: RunDirectory) -> tuple[str, ...]:
    found = summary(folder.journal, BUDGET)
    state = safe(state_of(folder, found.state))
    if found.damaged:
        state += f" ({found.damaged:,} damaged lines)"
    if not found.whole:
        state += " (its journal is too long to read completely)"
    age = duration(time.time() - folder.config.stat().st_mtime)
    return (state, f"{found.step:,}", f"{found.last:.3f}" if math.isfinite(found.last) else "-",
            f"{found.best:.3f}" if math.isfinite(found.best) else "-", str(found.branches),
            size(_size(folder.path)), age)


def _size(path: Path) -> int:
    """Return the bytes of all files under a folder; one that has several names counts once."""
    found = (os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
    return sum({(status.st_dev, status.st_ino): status.st_size for status in found}.values())
