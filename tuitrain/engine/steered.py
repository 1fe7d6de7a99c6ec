"""What steering, saving and restore points need of whatever is trained: a model of ours or somebody's own loop."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuitrain.engine.progress import Progress
from tuitrain.engine.snapshot import Snapshot
from tuitrain.knobs import Knobs


class Recipe(Protocol):
    """What the advice on a clip depends on."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name in lower case."""

    @property
    def betas(self) -> Sequence[float]:
        """Adam's decay rates, whatever the optimizer is."""


class Shape(Protocol):
    """What multiplies the learning rate beside the knob, as far as steering sets it."""

    def land(self, step: int, steps: int) -> None:
        """Go from the factor in force at `step` to almost nothing over `steps` steps."""

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as plain JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `state` was asked for."""


class Data(Protocol):
    """Where the next batch comes from, as far as steering sets it."""

    def skip(self, batches: int) -> None:
        """Pass over so many batches."""


class Steered(Protocol):
    """The live parts of a run between two steps."""

    knobs: Knobs
    progress: Progress
    norms: NDArray[np.float32]
    make_room: Callable[[int], bool]
    """Asked for so many bytes where memory is short: True if something was given up for them."""

    @property
    def environment(self) -> dict[str, Any]:
        """What it is trained on: the fields that RunStarted has of it, and what decides whether numbers repeat."""

    @property
    def config(self) -> Recipe: ...

    @property
    def schedule(self) -> Shape: ...

    @property
    def cursor(self) -> Data: ...

    def freeze(self) -> Snapshot:
        """A copy of everything that the next steps depend on; the same one until something changes."""

    def thaw(self, snapshot: Snapshot) -> None:
        """Be as at the snapshot, knobs included."""


class Reports(Protocol):
    """Tells the numbers of the steps."""

    def flush(self) -> Any:
        """The events of all that was not told yet."""

    def moved(self) -> None:
        """The run was set to another step."""
