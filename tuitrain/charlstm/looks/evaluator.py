"""Computes the validation loss of a snapshot, a slice at a time. Knows nothing of when evaluations are due.

With `--loss all` every character of the validation part counts once, in carried streams warmed up on the characters
before them; with `--loss last` a fixed set of windows counts. A small fixed part of it can be measured alone.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.network import CharRNN
from tuitrain.charlstm.model.scratch import Scratch
from tuitrain.engine.snapshot import Snapshot

ROWS, CHUNK = 64, 32
"""Number of parallel streams, and characters of each in a slice, which takes less time than a step."""
GPU_ROWS, GPU_CHUNK = 512, 256
"""The same on a GPU, which smaller slices would leave idle."""
SHORTEST = 64
"""Minimum characters of a stream."""
WARM = 32
"""Characters that a stream reads before its own to build up a hidden state."""
FORWARD = 0.35
"""Cost of a character in evaluation relative to training."""
SHARE, PART_SHARE = 0.01, 0.005
"""Shares of training time that default evaluations take, of the whole and of a part."""
WINDOWS = 4096
PART_ROWS, PART_LENGTH, PART_WINDOWS = 32, 96, 256
"""The part: number of streams and their characters, or number of windows, spread over the whole validation text."""
LEAST_GAIN = 4
"""Minimum ratio of the cost of the whole to that of a part at which a part is worthwhile."""


class Evaluator:
    """Evaluates snapshots in a scratch model; several evaluations may take turns.

    A part has `PART_ROWS` rows or `PART_WINDOWS` windows, unless other numbers are given.
    """

    def __init__(self, config: Config, model: CharRNN, validation: NDArray[np.uint32], *, part_rows: int = 0,
                 part_windows: int = 0) -> None:
        self._config = config
        self._part_rows, self._part_windows = part_rows or PART_ROWS, part_windows or PART_WINDOWS
        self._scratch = Scratch(model)
        self._device = next(model.parameters()).device
        self._gpu = self._device.type != "cpu"
        self._ids = torch.from_numpy(validation.astype(np.int64)).to(self._device)

    def slices(self) -> int:
        """Return the number of slices of an evaluation of the whole."""
        if self._config.loss == "last":
            return -(-len(self._windows(WINDOWS)) // self._rows_of_windows())
        _, length, warm = self._streams()
        return -(-length // self._chunk()) + (warm > 0)

    def run(self, snapshot: Snapshot, *, part: bool = False) -> Iterator[tuple[Tensor, int]]:
        """Yield the sum of nats so far (on the device) and the number of characters so far after each slice."""
        slices = self._last(snapshot, part) if self._config.loss == "last" else self._all(snapshot, part)
        yield from slices
        self._scratch.release()

    @torch.inference_mode()
    def _all(self, snapshot: Snapshot, part: bool) -> Iterator[tuple[Tensor, int]]:
        starts, length, warm = self._part_streams() if part else self._streams()
        hidden, nats, count = None, self._nothing(), 0
        if warm:
            time = torch.arange(-warm, 0, device=self._device)
            with self._autocast():
                _, hidden = self._scratch.load(snapshot)(self._ids[starts[:, None] + time], last=True)
            yield nats, count
        for begin in range(0, length, self._chunk()):
            time = torch.arange(begin, min(length, begin + self._chunk()), device=self._device)
            where = starts[:, None] + time
            with self._autocast():
                logits, hidden = self._scratch.load(snapshot)(self._ids[where], hidden)
            nats = nats + _nats(logits, self._ids[where + 1])
            count += where.numel()
            yield nats, count

    @torch.inference_mode()
    def _last(self, snapshot: Snapshot, part: bool) -> Iterator[tuple[Tensor, int]]:
        windows, rows = self._windows(self._part_windows if part else WINDOWS), self._rows_of_windows()
        time = torch.arange(self._window(), device=self._device)
        nats, count = self._nothing(), 0
        for start in range(0, len(windows), rows):
            offsets = windows[start : start + rows, None]
            with self._autocast():
                logits, _ = self._scratch.load(snapshot)(self._ids[offsets + time], last=True)
            nats = nats + _nats(logits, self._ids[offsets + self._window()])
            count += len(offsets)
            yield nats, count

    def _nothing(self) -> Tensor:
        return torch.zeros((), dtype=torch.float64, device=self._device)

    def _autocast(self) -> torch.autocast:
        return runtime.autocast(self._device.type, self._config.precision)

    def _chunk(self) -> int:
        return GPU_CHUNK if self._gpu else CHUNK

    def _streams(self) -> tuple[Tensor, int, int]:
        """Return the starts of the streams [rows], their length, and their number of warm-up characters."""
        warm = min(WARM, (len(self._ids) - 1) // 8)
        characters = len(self._ids) - 1 - warm
        rows = max(1, min(GPU_ROWS if self._gpu else ROWS, characters // SHORTEST))
        length = characters // rows
        return warm + length * torch.arange(rows, device=self._device), length, warm

    def _part_streams(self) -> tuple[Tensor, int, int]:
        last = len(self._ids) - 1 - PART_LENGTH
        starts = torch.linspace(WARM, last, self._part_rows, dtype=torch.float64).long()
        return starts.to(self._device), PART_LENGTH, WARM

    def _window(self) -> int:
        return min(self._config.bptt, len(self._ids) - 1)

    def _windows(self, most: int) -> Tensor:
        last = len(self._ids) - self._window() - 1
        return torch.linspace(0, last, min(most, last + 1), dtype=torch.float64).long().to(self._device)

    def _rows_of_windows(self) -> int:
        return max(GPU_ROWS if self._gpu else 1, ROWS * CHUNK // self._window())


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum").double()


def make_model(config: Config, characters: int) -> CharRNN:
    """Return the model that the configuration describes."""
    return CharRNN(characters, cell=config.cell, layers=config.layers, hidden=config.hidden, embedding=config.embedding,
                   dropout=config.dropout, init=config.init)


def cost_in_steps(config: Config, validation: int) -> float:
    """Return the approximate cost of one evaluation in training steps."""
    characters = validation if config.loss == "all" else min(WINDOWS, validation) * config.bptt
    return FORWARD * characters / (config.batch_size * config.bptt)


def steps_between_parts(config: Config, validation: int) -> int:
    """Return the steps between evaluations of a part; 0 if the whole is small enough to need none."""
    characters = PART_ROWS * (WARM + PART_LENGTH) if config.loss == "all" else PART_WINDOWS * config.bptt
    cost = FORWARD * characters / (config.batch_size * config.bptt)
    if cost * LEAST_GAIN > cost_in_steps(config, validation):
        return 0
    return max(1, round(cost / PART_SHARE))
