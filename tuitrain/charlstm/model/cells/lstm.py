"""Long short-term memory (Hochreiter, Schmidhuber 1997) with the forget gate of Gers, Schmidhuber, Cummins 2000."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tuitrain.charlstm.model.cells.cell import Array, Cell

if TYPE_CHECKING:
    from torch import Tensor, nn


class LSTM(Cell):
    """c' = f c + i g and h' = o tanh(c'), where i, f, o are sigmoids and g is a tanh."""

    name: ClassVar = "lstm"
    states: ClassVar = ("h", "c")
    remembers: ClassVar = "f"

    @property
    def module(self) -> "Callable[..., nn.RNNBase]":
        """See Cell."""
        from torch import nn

        return nn.LSTM

    def before_gates(self, inputs: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """See Cell."""
        return {gate: inputs[gate] + state[gate] for gate in inputs}

    def step(self, inputs: Array, state: Array, carried: tuple[Array, ...]) -> None:
        """See Cell."""
        h, c = carried
        n = len(h)
        state += inputs
        # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow.
        sigmoids = 0.5 * (1.0 + np.tanh(0.5 * state))
        c *= sigmoids[n : 2 * n]
        c += sigmoids[:n] * np.tanh(state[2 * n : 3 * n])
        np.multiply(sigmoids[3 * n :], np.tanh(c), out=h)
