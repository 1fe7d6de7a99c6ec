"""The loss on the validation part, of the weights as they were at one step, a slice at a time.

With `--loss all` every character of the validation part counts once, in carried streams; with `--loss last` a fixed
set of windows does. Knows nothing of when evaluations are due.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tuitrain.config import Config
from tuitrain.engine import runtime
from tuitrain.engine.model import CharLSTM
from tuitrain.engine.snapshot import Snapshot

ROWS, CHUNK = 64, 64
FORWARD = 0.35
"""What a character costs in evaluation, over what it costs in training."""
SHARE = 0.015
"""Share of training time that default evaluations take."""
WINDOWS = 4096


class Evaluator:
    """Owns a model of the same kind, which frozen weights are put into."""

    def __init__(self, config: Config, model: CharLSTM, validation: NDArray[np.uint32]) -> None:
        self._config = config
        # A copy, because a new model would draw initial weights from the generator that dropout reads.
        self._model = copy.deepcopy(model).eval()
        self._device = next(model.parameters()).device
        self._ids = torch.from_numpy(validation.astype(np.int64)).to(self._device)

    def slices(self) -> int:
        """How many slices one evaluation takes."""
        if self._config.loss == "last":
            return -(-len(self._windows()) // self._rows_of_windows())
        rows, length = self._streams()
        return max(1, -(-length // CHUNK)) if rows else 1

    def run(self, snapshot: Snapshot) -> Iterator[tuple[float, int]]:
        """(sum of nats so far, characters so far) after each slice of frozen weights."""
        # The snapshot never changes, so the model may read its tensors in place.
        weights = snapshot.part("model")
        for name, parameter in self._model.named_parameters():
            parameter.data = weights[name]
        return self._last() if self._config.loss == "last" else self._all()

    @torch.inference_mode()
    def _all(self) -> Iterator[tuple[float, int]]:
        rows, length = self._streams()
        inputs = self._ids[: rows * length].view(rows, length)
        targets = self._ids[1 : rows * length + 1].view(rows, length)
        hidden, nats, count = None, 0.0, 0
        for start in range(0, length, CHUNK):
            part = slice(start, start + CHUNK)
            with runtime.autocast(self._device.type, self._config.precision):
                logits, hidden = self._model(inputs[:, part], hidden)
            nats += float(F.cross_entropy(logits.flatten(0, 1).float(), targets[:, part].flatten(), reduction="sum"))
            count += targets[:, part].numel()
            yield nats, count

    @torch.inference_mode()
    def _last(self) -> Iterator[tuple[float, int]]:
        windows, rows, nats, count = self._windows(), self._rows_of_windows(), 0.0, 0
        time = torch.arange(self._window(), device=self._device)
        for start in range(0, len(windows), rows):
            offsets = windows[start : start + rows, None]
            with runtime.autocast(self._device.type, self._config.precision):
                logits, _ = self._model(self._ids[offsets + time], last=True)
            targets = self._ids[offsets[:, 0] + self._window()]
            nats += float(F.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="sum"))
            count += len(targets)
            yield nats, count

    def _streams(self) -> tuple[int, int]:
        rows = max(1, min(ROWS, (len(self._ids) - 1) // CHUNK))
        return rows, (len(self._ids) - 1) // rows

    def _window(self) -> int:
        return min(self._config.bptt, len(self._ids) - 1)

    def _windows(self) -> torch.Tensor:
        last = len(self._ids) - self._window() - 1
        return torch.linspace(0, last, min(WINDOWS, last + 1), dtype=torch.float64).long().to(self._device)

    def _rows_of_windows(self) -> int:
        return max(1, 4096 // self._window())


def make_model(config: Config, characters: int) -> CharLSTM:
    """The model that the configuration describes."""
    return CharLSTM(characters, layers=config.layers, hidden=config.hidden, embedding=config.embedding,
                    dropout=config.dropout, init=config.init)


def cost_in_steps(config: Config, validation: int) -> float:
    """Roughly what one evaluation costs, in training steps."""
    characters = validation if config.loss == "all" else min(WINDOWS, validation) * config.bptt
    return FORWARD * characters / (config.batch_size * config.bptt)
