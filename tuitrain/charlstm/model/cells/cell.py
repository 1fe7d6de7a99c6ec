"""The interface of a recurrent cell: everything that model, instruments and sampler need to know about it.

Title and gates are declared in specs.py, because screens and diagnosis need them without torch. The computation here
starts from two products that are the same for every cell: that of its inputs and that of its previous state, each with
its bias, in torch's blocks of one gate each.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tuitrain.specs import CELLS, CellSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float32]


class Cell(ABC):
    """One kind of recurrent layer as in torch, with gates stacked in `weight_ih` and `weight_hh`."""

    name: ClassVar[str]
    """The value of `--cell`, and the prefix of its parameters' names in checkpoints."""
    states: ClassVar[tuple[str, ...]]
    """States carried from character to character, each [layers, batch, hidden]; the first is the output."""
    remembers: ClassVar[str]
    """The gate that keeps the old state when open; its bias is 1 in a new model."""

    @property
    def spec(self) -> CellSpec:
        """Its declaration."""
        return CELLS[self.name]

    @property
    @abstractmethod
    def module(self) -> "Callable[..., nn.RNNBase]":
        """The class of torch's layers for training."""

    @abstractmethod
    def before_gates(self, inputs: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return the argument of each gate's sigmoid (of the candidate's tanh) from the two products by gate."""

    @abstractmethod
    def step(self, inputs: Array, state: Array, carried: tuple[Array, ...]) -> None:
        """Advance the carried states of one layer [hidden] by one character.

        Takes the two products [gates * hidden]; the second one may be overwritten.
        """

    def rows_of(self, gate: str, hidden: int) -> slice:
        """Return the rows of a stacked matrix or bias that belong to a gate."""
        at = list(self.spec.gates).index(gate)
        return slice(at * hidden, (at + 1) * hidden)

    def by_gate(self, stacked: "Tensor", dim: int = 0) -> "dict[str, Tensor]":
        """Return the blocks of a stacked tensor by gate."""
        return dict(zip(self.spec.gates, stacked.chunk(len(self.spec.gates), dim), strict=True))
