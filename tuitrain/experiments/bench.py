"""Characters per second of tuitrain beside a stock PyTorch loop, alternated in one run. Ratios are what counts.

    a    stock loop                       a'   the same with tuitrain's runtime settings
    b    tuitrain headless: instruments, journal, snapshots, checkpoints
    b'   the same with the default samples and evaluations
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuitrain.engine.evaluation import FORWARD, SHARE
from tuitrain.errors import TuitrainError
from tuitrain.protocol.events import StepsDone
from tuitrain.run import journal

NEVER = "1000000000"
EVALUATE_EVERY = 40
"""Steps: a few in each cell, yet not so often that saving every new best, which is rare in a real run, counts."""


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
        """As options."""
        return [f"--layers={self.layers}", f"--hidden={self.hidden}", f"--batch-size={self.batch_size}",
                f"--bptt={self.bptt}"]


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the rounds, characters per second by cell, and the paired ratios."""

    shape: Shape
    speed: dict[str, float]
    spread: dict[str, float]

    def ratio(self, over: str, under: str) -> float:
        """One cell's median over another's."""
        return self.speed[over] / self.speed[under]


def bench(corpus: Path, shapes: list[Shape], *, seconds: float, rounds: int, seed: int,
          say: Callable[[str], None]) -> list[Result]:
    """Measure all shapes; the order of the cells is shuffled anew in each round."""
    rng = random.Random(seed)
    results = []
    for shape in shapes:
        speeds: dict[str, list[float]] = {"a": [], "a'": [], "b": [], "b'": []}
        for number in range(rounds):
            cells = list(speeds)
            rng.shuffle(cells)
            for cell in cells:
                speed = _stock(corpus, shape, seconds, cell) if cell[0] == "a" else _tuitrain(
                    corpus, shape, seconds, cell)
                speeds[cell].append(speed)
                say(f"{shape.name} round {number + 1} {cell:<2} {speed:,.0f} characters/s")
        results.append(Result(shape, {c: statistics.median(v) for c, v in speeds.items()},
                              {c: (max(v) - min(v)) / statistics.median(v) for c, v in speeds.items()}))
    return results


def _stock(corpus: Path, shape: Shape, seconds: float, cell: str) -> float:
    command = [sys.executable, "-m", "tuitrain.experiments.stock", str(corpus), *shape.arguments(),
               f"--seconds={seconds}"]
    if cell == "a'":
        command.append("--ours")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TuitrainError(f"the stock loop failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def _tuitrain(corpus: Path, shape: Shape, seconds: float, cell: str) -> float:
    """The real program, stopped by a signal; its speed is read from its own journal, after a tenth of the time."""
    beside = ["--sample-every", NEVER, "--evaluate-every", NEVER]
    if cell == "b'":
        # Evaluations at their default share of the time, but small and often enough to be seen in a short cell:
        # interval and size are scaled by the same factor.
        characters = EVALUATE_EVERY * SHARE / FORWARD * shape.batch_size * shape.bptt
        share = characters / len(corpus.read_text())
        beside = ["--evaluate-every", str(EVALUATE_EVERY), "--val", f"{max(0.001, share):.6f}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        process = subprocess.Popen(
            [sys.executable, "-m", "tuitrain", str(corpus), "--no-ui", "--run", str(path), *shape.arguments(), *beside],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ)
        log = path / "journal.jsonl"
        while process.poll() is None and not (log.exists() and b"StepsDone" in log.read_bytes()):
            time.sleep(0.05)
        if process.poll() is None:
            time.sleep(seconds * 1.1)
            process.terminate()  # SIGINT is ignored in what a shell has put in the background
        _, errors = process.communicate()
        steps = [(event, when) for event, when in journal.read(log, kinds=(StepsDone,))
                 if isinstance(event, StepsDone)]
    if len(steps) < 4:
        raise TuitrainError(f"too few steps in {seconds:g} s; give more --seconds. {errors.decode()[-200:]}")
    # All the drains in a window of the length that the stock loop is given.
    begin = steps[0][1] + 0.1 * seconds
    inside = [(event, when) for event, when in steps if begin <= when <= begin + seconds]
    first, last = inside[0][1], inside[-1][1]
    return sum(len(e.loss) for e, _ in inside[1:]) * shape.batch_size * shape.bptt / (last - first)
