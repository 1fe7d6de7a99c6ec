"""The default run beside a stock loop, window by window from its first step on, with everything on.

The two take turns: while one computes for a window the other is stopped as ctrl+z stops a program, so both see the same
machine and neither sees the other.
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
"""(Unix time, steps until then), oldest first."""


@dataclass(frozen=True, slots=True)
class Window:
    """Steps per second in one window of both."""

    ours: float
    stock: float

    @property
    def ratio(self) -> float:
        return self.ours / self.stock


@dataclass(frozen=True, slots=True)
class Minute:
    """What the windows of one shape gave; `sample_after`: seconds of its own time until the run had drawn a whole
    sample, None if it had not."""

    shape: Shape
    windows: tuple[Window, ...]
    sample_after: float | None


def first_minute(corpus: Path, shape: Shape, *, seconds: float, windows: int, options: Sequence[str],
                 say: Callable[[str], None], stock: Sequence[str] = ()) -> Minute:
    """Measure one shape; `options` are the run's and `stock` the stock loop's, beside those of the shape. Raises
    TuitrainError."""
    with tempfile.TemporaryDirectory() as folder:
        run, told = RunDirectory(Path(folder) / "run"), Path(folder) / "stock"
        marks: tuple[Callable[[], Marks], ...] = (lambda: told_by_ours(run), lambda: told_by_stock(told))
        ours = _Turns([sys.executable, "-m", "tuitrain", str(corpus), "--run", str(run.path), "--no-ui",
                       *shape.arguments(), *options], Path(folder) / "ours")
        plain = _Turns([sys.executable, "-m", "tuitrain.experiments.stock", str(corpus), *shape.arguments(),
                        "--seconds=0", "--tell", *stock], told)
        try:
            ours.stop()
            plain.until(lambda: len(marks[1]()) > 2)
            plain.stop()
            ours.go_on()
            ours.until(lambda: len(marks[0]()) > 0)
            began, spans, found = marks[0]()[0][0], [], []
            for number in range(windows):
                speeds = []
                for turn, told_by in zip((ours, plain), marks, strict=True):
                    begin = began if turn is ours and not number else time.time()
                    turn.go_on()
                    turn.wait(max(0.0, begin + seconds - time.time()))
                    turn.stop()
                    speeds.append(speed(told_by(), begin, time.time()))
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
    """Steps per second between the first and the last mark of a window. Raises TuitrainError if there are too few."""
    inside = [mark for mark in marks if begin <= mark[0] <= end]
    if len(inside) < 2:
        raise TuitrainError(f"too few steps in {end - begin:.0f} s; give more --seconds")
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def own_time(spans: Sequence[tuple[float, float]], when: float) -> float:
    """Seconds that a process had computed until a moment, if it computed in these spans."""
    return sum(max(0.0, min(end, when) - begin) for begin, end in spans)


def told_by_ours(run: RunDirectory) -> Marks:
    """From the run's journal."""
    if not run.journal.exists():
        return []
    return [(when, event.first_step + len(event.loss) - 1) for event, when in journal.read(run.journal,
            kinds=(StepsDone,)) if isinstance(event, StepsDone)]


def told_by_stock(path: Path) -> Marks:
    """From the lines that the stock loop printed, whole ones only."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(float(when), int(steps)) for when, steps in map(str.split, lines)]


class _Turns:
    """A process that can be stopped and goes on."""

    def __init__(self, command: list[str], output: Path) -> None:
        self._errors = output.with_suffix(".errors")
        with output.open("w") as out, self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdout=out, stderr=errors)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a condition."""
        while not ready():
            self.wait(0.05)

    def wait(self, seconds: float) -> None:
        """So long, if it lives as long. Raises TuitrainError if it ends."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise TuitrainError(f"ended too early: {self._errors.read_text().strip()[-200:]}")

    def stop(self) -> None:
        """All its threads, as they are."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """From where it was stopped."""
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """For good; what it wrote is thrown away."""
        self._process.kill()
        self._process.wait()
