"""Which rows of a batch this process computes: all of them, unless several processes share the work."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Offsets = NDArray[np.int64]


class WholeBatch:
    """One process computes every row."""

    def count(self, batch_size: int) -> int:
        """Return how many rows of a batch are this process'."""
        return batch_size

    def of(self, offsets: Offsets) -> Offsets:
        """Return where this process' rows begin."""
        return offsets

    def rows(self, hidden: Tensor) -> Tensor:
        """Return this process' part of a hidden state [layers, B, hidden]."""
        return hidden

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return what computes the forward pass of a module, here itself."""
        return module

    def together(self, loss: Tensor, rows: Tensor, good: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return of the whole batch what is passed of this process' rows: the loss, the mean loss of each row [B], and
        whether the hidden state after them is finite."""
        return loss, rows, good
