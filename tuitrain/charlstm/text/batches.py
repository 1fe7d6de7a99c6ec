"""The order of batches: a cursor over the train split that can be saved and restored exactly.

Knows nothing of tensors. A batch is the offsets of its B rows in the split; the learner gathers the characters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.charlstm.config import Config


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a step: `offsets[b]` is where row b begins; `fresh` if no hidden state is carried into it."""

    offsets: NDArray[np.int64]
    fresh: bool


class Cursor:
    """The order of batches. Its state is two integers: the epoch and the batch within it."""

    def __init__(self, rows: int, batches_per_epoch: int) -> None:
        self.rows = rows
        self.batches_per_epoch = batches_per_epoch
        self.epoch = 0
        self.index = 0

    def next(self) -> Batch:
        """Return the next batch, starting a new epoch when this one is used up."""
        if self.index >= self.batches_per_epoch:
            self.epoch, self.index = self.epoch + 1, 0
        batch = self._batch()
        self.index += 1
        return batch

    def skip(self, count: int) -> None:
        """Skip the next `count` batches."""
        done = self.epoch * self.batches_per_epoch + self.index + count
        self.epoch, self.index = divmod(done, self.batches_per_epoch)

    @property
    def epochs_done(self) -> float:
        return self.epoch + self.index / self.batches_per_epoch

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "index": self.index}

    def restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.index = int(state["epoch"]), int(state["index"])

    def _batch(self) -> Batch:
        raise TypeError("Cursor is abstract; use Streams or Windows")


class Streams(Cursor):
    """B contiguous streams through the text; hidden state is carried from batch to batch."""

    def __init__(self, length: int, batch_size: int, bptt: int) -> None:
        # Each row needs one more character than it reads: the last target.
        self.stream = (length - 1) // batch_size
        self.bptt = bptt
        super().__init__(batch_size, max(1, self.stream // bptt))
        self._starts = np.arange(batch_size, dtype=np.int64) * self.stream

    def _batch(self) -> Batch:
        return Batch(self._starts + self.index * self.bptt, fresh=self.index == 0)


class Windows(Cursor):
    """Shuffled windows, `stride` apart, in another order each epoch, with no hidden state carried over."""

    def __init__(self, length: int, batch_size: int, bptt: int, stride: int, seed: int) -> None:
        self.count = max(1, (length - bptt - 1) // stride + 1)
        self.stride, self.seed = stride, seed
        super().__init__(batch_size, max(1, self.count // batch_size))
        self._order_of: tuple[int, NDArray[np.int64]] | None = None

    def _batch(self) -> Batch:
        # The order is derived from seed and epoch, so that two integers restore it.
        if self._order_of is None or self._order_of[0] != self.epoch:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
            self._order_of = (self.epoch, order.astype(np.int64))
        rows = self._order_of[1][self.index * self.rows : (self.index + 1) * self.rows]
        return Batch(rows * self.stride, fresh=True)


def fitted(config: Config, length: int) -> tuple[int, int]:
    """Return batch size and bptt, reduced if a train split of `length` characters is too short for them."""
    bptt = min(config.bptt, max(1, (length - 1) // 2))
    rows = (length - 1) // bptt if config.loss == "all" else (length - bptt - 1) // config.stride + 1
    return max(1, min(config.batch_size, rows)), bptt


def make_cursor(config: Config, length: int) -> Cursor:
    """Return the cursor for the `--loss` of the configuration."""
    if config.loss == "all":
        return Streams(length, config.batch_size, config.bptt)
    return Windows(length, config.batch_size, config.bptt, config.stride, config.seed)
