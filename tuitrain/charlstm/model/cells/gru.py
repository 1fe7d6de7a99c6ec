"""Gated recurrent unit (Cho et al. 2014, 1406.1078), as cuDNN has it: the reset gate acts on the product."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tuitrain.charlstm.model.cells.cell import Array, Cell

if TYPE_CHECKING:
    from torch import Tensor, nn


class GRU(Cell):
    """n = tanh(W x + b + r (U h + b')) and h' = (1 - z) n + z h, where r and z are sigmoids."""

    name: ClassVar = "gru"
    states: ClassVar = ("h",)
    remembers: ClassVar = "z"

    @property
    def module(self) -> "Callable[..., nn.RNNBase]":
        """See Cell."""
        from torch import nn

        return nn.GRU

    def before_gates(self, inputs: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """See Cell."""
        r = inputs["r"] + state["r"]
        return {"r": r, "z": inputs["z"] + state["z"], "n": inputs["n"] + r.sigmoid() * state["n"]}

    def step(self, inputs: Array, state: Array, carried: tuple[Array, ...]) -> None:
        """See Cell."""
        (h,) = carried
        n = len(h)
        # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow.
        gates = 0.5 * (1.0 + np.tanh(0.5 * (inputs[: 2 * n] + state[: 2 * n])))
        new = np.tanh(inputs[2 * n :] + gates[:n] * state[2 * n :])
        h -= new
        h *= gates[n:]
        h += new
