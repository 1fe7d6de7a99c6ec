"""Measures what `tuitrain.watch` costs: a bare loop and the same loop watched, by turns in one process.

Runs as a process of its own, because a watched script has threads and hooks, and prints one line of JSON. The models
are those of docs/examples, with batches so large that a step takes about 10 ms.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tuitrain.errors import TuitrainError

MODELS = ("mlp", "transformer")
STEP = 0.010
"""Seconds that a step takes, within a third, by the size of its batch."""
WARM_UP = 30
"""Steps of each loop before the first window."""


class Times(NamedTuple):
    """Seconds of a step: by the clock, and of the processor in all threads, which other programs disturb less."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What watching a model costs, from pairs of windows: the times of a bare step and of a watched one."""

    model: str
    clips: bool
    parameters: int
    pairs: tuple[tuple[Times, Times], ...]

    @property
    def step(self) -> Times:
        """Return the median times of a bare step."""
        return Times(*(statistics.median(bare[i] for bare, _ in self.pairs) for i in range(2)))

    def ratio(self, of: str) -> tuple[float, float, float]:
        """Return the quartiles of watched over bare: the lower, the median, the upper; `of` is `wall` or `cpu`."""
        low, middle, high = statistics.quantiles([getattr(watched, of) / getattr(bare, of)
                                                  for bare, watched in self.pairs], n=4)
        return low, middle, high


def measure(model: str, *, clips: bool, pairs: int, seconds: float) -> Cost:
    """Measure in a process of its own. Raises TuitrainError if that fails."""
    command = [sys.executable, "-m", "tuitrain.experiments.watched", model, f"--pairs={pairs}", f"--seconds={seconds}"]
    done = subprocess.run([*command, *(["--clips"] if clips else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TuitrainError(f"the watched loop failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout)
    return Cost(model, clips, found["parameters"], tuple((Times(*b), Times(*w)) for b, w in found["pairs"]))


class Loop:
    """A training loop as a person writes one, with a pilot once `watch` was called."""

    def __init__(self, model: Any, loss: Callable[[Any], Any], clips: bool) -> None:
        import torch

        self.model, self._loss, self._clips = model, loss, clips
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self._clip: Callable[..., Any] = torch.nn.utils.clip_grad_norm_
        self.pilot: Any = None

    def watch(self, folder: Path) -> None:
        """Watch it from now on, at twice the default intervals, because their clocks also run in the bare windows."""
        import tuitrain

        self.pilot = tuitrain.watch(self.model, self.optimizer, run=folder, snapshot_every="10s",
                                    checkpoint_every="120s")
        self._clip = self.pilot.clip_grad_norm_

    def run(self, steps: int) -> Times:
        """Make steps; return the times of one of them."""
        began, used = time.perf_counter(), time.process_time()
        pilot = self.pilot
        for _ in range(steps):
            loss = self._loss(self.model)
            self.optimizer.zero_grad()
            loss.backward()
            if self._clips:
                self._clip(self.model.parameters(), 1.0)
            self.optimizer.step()
            if pilot is not None:
                pilot.step(loss)
        return Times((time.perf_counter() - began) / steps, (time.process_time() - used) / steps)


def loop(kind: str, rows: int, clips: bool) -> Loop:
    """Return one of the models with a batch of `rows` rows."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    if kind == "mlp":
        mlp = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
        x = torch.randn(rows, 32)
        y = torch.sin(x.sum(1, keepdim=True))
        return Loop(mlp, lambda model: F.mse_loss(model(x), y), clips)
    letters, length, width = 80, 64, 96

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(length, width)
            layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(width, letters)
            self.mask = nn.Transformer.generate_square_subsequent_mask(length)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(self.letters(x) + self.places.weight, mask=self.mask, is_causal=True))

    text = torch.randint(letters, (rows, length + 1))
    return Loop(Transformer(), lambda model: F.cross_entropy(model(text[:, :-1]).flatten(0, 1),
                                                             text[:, 1:].flatten()), clips)


def rows_for(kind: str, clips: bool) -> int:
    """Return the size of the batch, a power of two or one and a half, with which a step takes about `STEP`."""
    rows = 2
    while True:
        bare = loop(kind, rows, clips)
        bare.run(5)
        if min(bare.run(1).cpu for _ in range(10)) >= 0.8 * STEP:
            return rows
        rows = rows * 3 // 2 if rows & (rows - 1) == 0 else rows * 4 // 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--clips", action="store_true", help="with a clip call in both loops")
    parser.add_argument("--pairs", type=int, help="of windows, at least 2")
    parser.add_argument("--seconds", type=float, help="of a window")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = rows_for(arguments.model, arguments.clips)
    bare, watched = (loop(arguments.model, rows, arguments.clips) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        watched.watch(Path(folder) / "run")
        bare.run(WARM_UP)
        watched.run(WARM_UP)
        steps = max(1, round(arguments.seconds / bare.run(WARM_UP).wall))
        pairs: list[tuple[Times, Times]] = []
        for pair in range(arguments.pairs):  # bare, watched, watched, bare, …, so that a drift cancels
            order = (bare, watched) if pair % 2 == 0 else (watched, bare)
            taken = {one: one.run(steps) for one in order}
            pairs.append((taken[bare], taken[watched]))
        watched.pilot.close()
    print(json.dumps({"pairs": pairs, "parameters": sum(p.numel() for p in bare.model.parameters())}))  # noqa: T201


if __name__ == "__main__":
    main()
