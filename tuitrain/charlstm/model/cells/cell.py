"""What a recurrent cell says of itself: all that model, instruments and sampler ask which only the cell knows.

Its title and its gates are declared in specs.py, because screens and diagnosis need them without torch. Here is how it
computes, from two products that are the same for every cell: that of its inputs and that of its state before, each
with its bias, in torch's blocks of one gate each.
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
    """One kind of recurrent layer, as torch has it: its gates are stacked in `weight_ih` and `weight_hh`."""

    name: ClassVar[str]
    """What `--cell` takes, and what its parameters begin with in checkpoints."""
    states: ClassVar[tuple[str, ...]]
    """What is carried from character to character, each [layers, batch, hidden]; the first is the output."""
    remembers: ClassVar[str]
    """The gate that keeps the old state where it is open; a new model begins with a bias of 1 in it."""

    @property
    def spec(self) -> CellSpec:
        """Its declaration."""
        return CELLS[self.name]

    @property
    @abstractmethod
    def module(self) -> "Callable[..., nn.RNNBase]":
        """The class of torch's layers that train it."""

    @abstractmethod
    def before_gates(self, inputs: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return what each gate takes its sigmoid, the candidate its tanh of, from the two products by gate."""

    @abstractmethod
    def step(self, inputs: Array, state: Array, carried: tuple[Array, ...]) -> None:
        """Set the carried states of one layer [hidden] to those after one more character, from the two products
        [gates * hidden], the second of which may be overwritten."""

    def rows_of(self, gate: str, hidden: int) -> slice:
        """The rows of a stacked matrix or bias that belong to a gate."""
        at = list(self.spec.gates).index(gate)
        return slice(at * hidden, (at + 1) * hidden)

    def by_gate(self, stacked: "Tensor", dim: int = 0) -> "dict[str, Tensor]":
        """Return a stacked tensor's blocks by gate."""
        return dict(zip(self.spec.gates, stacked.chunk(len(self.spec.gates), dim), strict=True))
