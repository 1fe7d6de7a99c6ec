"""Compares the default run, with everything on, with a stock loop, window by window from its first step on.

The two take turns: while one computes for a window the other is stopped, as by ctrl+z, so both have the same machine
and neither slows the other down.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuitrain.errors import TuitrainError
from tuitrain.experiments.bench import Shape
from tuitrain.protocol.events import SampleDrawn, StepsDone
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory

Marks = list[tuple[float, int]]
"""(Unix time, number of steps so far), oldest first."""


@dataclass(frozen=True, slots=True)
class Window:
    """Steps per second of both programs in one window."""

    ours: float
    stock: float

    @property
    def ratio(self) -> float:
        return self.ours / self.stock


@dataclass(frozen=True, slots=True)
class Minute:
    """The windows of one shape; `sample_after` is the computing time in seconds until the run had drawn a whole sample,
    None if it had not."""

    shape: Shape
    windows: tuple[Window, ...]
    sample_after: float | None


def first_minute(corpus: Path, shape: Shape, *, seconds: float, windows: int, options: Sequence[str],
                 say: Callable[[str], None], stock: Sequence[str] = ()) -> Minute:
    """Measure one shape. Raises TuitrainError.

    `options` are further options of the run, `stock` those of the stock loop.
    """
    with tempfile.TemporaryDirectory() as folder:
        run, printed = RunDirectory(Path(folder) / "run"), Path(folder) / "stock"
        marks: tuple[Callable[[], Marks], ...] = (lambda: marks_of_run(run), lambda: marks_of_stock(printed))
        ours = _Turns([sys.executable, "-m", "tuitrain", str(corpus), "--run", str(run.path), "--no-ui",
                       *shape.arguments(), *options], Path(folder) / "ours")
        plain = _Turns([sys.executable, "-m", "tuitrain.experiments.stock", str(corpus), *shape.arguments(),
                        "--seconds=0", "--progress", *stock], printed)
        try:
            ours.stop()
            plain.until(lambda: len(marks[1]()) > 2)
            plain.stop()
            ours.go_on()
            ours.until(lambda: len(marks[0]()) > 0)
            began, spans, found = marks[0]()[0][0], [], []
            for number in range(windows):
                speeds = []
                for turn, read in zip((ours, plain), marks, strict=True):
                    begin = began if turn is ours and not number else time.time()
                    turn.go_on()
                    turn.wait(max(0.0, begin + seconds - time.time()))
                    turn.stop()
                    speeds.append(speed(read(), begin, time.time()))
                    if turn is ours:
                        spans.append((begin, time.time()))
                found.append(Window(*speeds))
                say(f"{shape.name} window {number + 1}: {found[-1].ours:.2f} and {found[-1].stock:.2f} steps/s, "
                    f"ratio {found[-1].ratio:.3f}")
            drawn = [when for _, when in journal.read(run.journal, kinds=(SampleDrawn,))]
            return Minute(shape, tuple(found), own_time(spans, drawn[0]) if drawn else None)
        finally:
            ours.end()
            plain.end()


def speed(marks: Marks, begin: float, end: float) -> float:
    """Return steps per second between the first and the last mark of a window. Raises TuitrainError for too few."""
    inside = [mark for mark in marks if begin <= mark[0] <= end]
    if len(inside) < 2:
        raise TuitrainError(f"too few steps in {end - begin:.0f} s; give more --seconds")
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def own_time(spans: Sequence[tuple[float, float]], when: float) -> float:
    """Return the seconds that a process had computed up to the time `when`, if it computed in these spans."""
    return sum(max(0.0, min(end, when) - begin) for begin, end in spans)


def marks_of_run(run: RunDirectory) -> Marks:
    """Return the marks in a run's journal."""
    if not run.journal.exists():
        return []
    return [(when, event.first_step + len(event.loss) - 1) for event, when in journal.read(run.journal,
            kinds=(StepsDone,)) if isinstance(event, StepsDone)]


def marks_of_stock(path: Path) -> Marks:
    """Return the marks that the stock loop printed, complete lines only."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(float(when), int(steps)) for when, steps in map(str.split, lines)]


class _Turns:
    """A process that can be stopped and continued."""

    def __init__(self, command: list[str], output: Path) -> None:
        self._errors = output.with_suffix(".errors")
        with output.open("w") as out, self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdout=out, stderr=errors)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a condition."""
        while not ready():
            self.wait(0.05)

    def wait(self, seconds: float) -> None:
        """Wait for this long. Raises TuitrainError if the process ends."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise TuitrainError(f"ended too early: {self._errors.read_text().strip()[-200:]}")

    def stop(self) -> None:
        """Stop all threads of the process."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue the process."""
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
