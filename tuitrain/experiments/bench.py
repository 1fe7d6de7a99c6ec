"""Characters per second of tuitrain beside a stock PyTorch loop, alternating in one run. Ratios are what counts.

    a    stock loop                       a'   the same with tuitrain's runtime settings
    b    tuitrain headless: instruments, journal, snapshots, checkpoints
    b'   the same with the default samples and evaluations
    c    the cockpit with the training in its own process      d    the cockpit with a host process
"""

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuitrain.charlstm.looks.evaluator import FORWARD, SHARE
from tuitrain.errors import TERMINATED, TuitrainError
from tuitrain.experiments.terminal import Terminal
from tuitrain.protocol.events import StepsDone
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, is_alive

CELLS = ("a", "a'", "b", "b'", "c", "d")
COCKPITS = ("c", "d")
HOW = {"b": ["--no-ui"], "b'": ["--no-ui"], "c": ["--host=here"], "d": []}
NEVER = "1000000000"
EVALUATE_EVERY = 40
"""Steps: a few evaluations in each cell, but so few that saving each new best, rare in a real run, does not matter."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model and its batch."""

    layers: int
    hidden: int
    batch_size: int = 50
    bptt: int = 50

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.hidden}"

    def arguments(self) -> list[str]:
        """Return the shape as command-line options."""
        return [f"--layers={self.layers}", f"--hidden={self.hidden}", f"--batch-size={self.batch_size}",
                f"--bptt={self.bptt}"]


@dataclass(frozen=True, slots=True)
class Sitting:
    """One run of a cell: characters per second, and for a cockpit the bytes per second written to its terminal and its
    share of a core, which in cell c includes the training.
    """

    speed: float = 0.0
    bytes: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the rounds, characters per second by cell, and the paired ratios."""

    shape: Shape
    speed: dict[str, float]
    spread: dict[str, float]
    bytes: float
    cpu: float
    """Medians of the cockpit with a host process (cell d); 0 where that was not measured."""

    def ratio(self, over: str, under: str) -> float:
        """Return the ratio of the medians of two cells."""
        return self.speed[over] / self.speed[under]


def bench(corpus: Path, shapes: list[Shape], *, cells: Sequence[str] = CELLS, seconds: float, rounds: int, seed: int,
          say: Callable[[str], None]) -> list[Result]:
    """Measure all shapes, with the cells in a new random order in each round. Raises TuitrainError."""
    rng = random.Random(seed)
    results = []
    for shape in shapes:
        sittings: dict[str, list[Sitting]] = {cell: [] for cell in cells}
        for number in range(rounds):
            order = list(cells)
            rng.shuffle(order)
            for cell in order:
                measure = _stock if cell[0] == "a" else _tuitrain
                sittings[cell].append(measure(corpus, shape, seconds, cell))
                say(f"{shape.name} round {number + 1} {cell:<2} {sittings[cell][-1].speed:,.0f} characters/s")
        speeds = {cell: [s.speed for s in sat] for cell, sat in sittings.items()}
        seen = sittings.get("d", [Sitting()])
        results.append(Result(shape, {c: statistics.median(v) for c, v in speeds.items()},
                              {c: (max(v) - min(v)) / statistics.median(v) for c, v in speeds.items()},
                              statistics.median(s.bytes for s in seen), statistics.median(s.cpu for s in seen)))
    return results


def _stock(corpus: Path, shape: Shape, seconds: float, cell: str) -> Sitting:
    command = [sys.executable, "-m", "tuitrain.experiments.stock", str(corpus), *shape.arguments(),
               f"--seconds={seconds}"]
    if cell == "a'":
        command.append("--ours")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TuitrainError(f"the stock loop failed: {done.stderr.strip().splitlines()[-1]}")
    return Sitting(float(done.stdout))


def _tuitrain(corpus: Path, shape: Shape, seconds: float, cell: str) -> Sitting:
    """Run the real program and stop it by a signal; its speed is read from its journal, without the first tenth."""
    beside = ["--sample-every", NEVER, "--evaluate-every", NEVER]
    if cell != "b":
        # Evaluations at their default share of the time, but small and frequent enough for a short cell: interval and
        # size are scaled by the same factor.
        characters = EVALUATE_EVERY * SHARE / FORWARD * shape.batch_size * shape.bptt
        share = characters / len(corpus.read_text())
        beside = ["--evaluate-every", str(EVALUATE_EVERY), "--val", f"{max(0.001, share):.6f}"]
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        command = [sys.executable, "-m", "tuitrain", str(corpus), "--run", str(run.path), *shape.arguments(), *beside,
                   *HOW[cell]]
        sitting = _in_a_terminal(command, run, seconds) if cell in COCKPITS else _plain(command, run, seconds)
        steps = [(event, when) for event, when in journal.read(run.journal, kinds=(StepsDone,))
                 if isinstance(event, StepsDone)]
    if len(steps) < 4:
        raise TuitrainError(f"too few steps in {seconds:g} s; give more --seconds")
    # All reports in a window of the same length as the stock loop's.
    begin = steps[0][1] + 0.1 * seconds
    inside = [(event, when) for event, when in steps if begin <= when <= begin + seconds]
    first, last = inside[0][1], inside[-1][1]
    speed = sum(len(e.loss) for e, _ in inside[1:]) * shape.batch_size * shape.bptt / (last - first)
    return replace(sitting, speed=speed)


def _plain(command: list[str], run: RunDirectory, seconds: float) -> Sitting:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if _begins(process, run):
        time.sleep(seconds * 1.1)
        process.terminate()  # a background process of a shell ignores SIGINT
    _, errors = process.communicate()
    if process.returncode not in (TERMINATED, 0):
        raise TuitrainError(f"tuitrain failed: {errors.decode().strip()[-200:]}")
    return Sitting()


def _in_a_terminal(command: list[str], run: RunDirectory, seconds: float) -> Sitting:
    terminal = Terminal(command)
    sitting = Sitting()
    if _begins(terminal.process, run):
        time.sleep(seconds * 0.1)
        written, used = terminal.bytes, terminal.cpu_seconds()
        time.sleep(seconds)
        sitting = Sitting(bytes=(terminal.bytes - written) / seconds, cpu=(terminal.cpu_seconds() - used) / seconds)
        terminal.process.terminate()
    terminal.close()
    if is_alive(run):
        # The host outlives the cockpit.
        os.kill(int((run.path / "lock").read_text().split()[1]), signal.SIGTERM)
        while is_alive(run):
            time.sleep(0.05)
    return sitting


def _begins(process: subprocess.Popen[bytes], run: RunDirectory) -> bool:
    """Wait for the first steps; return False if the process ends without any."""
    while process.poll() is None:
        if run.journal.exists() and b"StepsDone" in run.journal.read_bytes():
            return True
        time.sleep(0.05)
    return False
