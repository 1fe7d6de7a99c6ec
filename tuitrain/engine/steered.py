"""The interface that steering, saving and restore points need from a run: a built-in model's or somebody's own loop."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuitrain.engine.progress import Progress
from tuitrain.engine.snapshot import Snapshot
from tuitrain.knobs import Knobs


class Recipe(Protocol):
    """The settings that advice on the clip depends on."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name in lower case."""

    @property
    def betas(self) -> Sequence[float]:
        """Adam's decay rates, present for any optimizer."""


class Shape(Protocol):
    """The learning-rate schedule, as far as steering changes it."""

    def land(self, step: int, steps: int) -> None:
        """Decay from the factor in force at `step` to almost zero over `steps` steps."""

    def state(self) -> dict[str, Any]:
        """Return the state as plain JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


class Data(Protocol):
    """The source of batches, as far as steering moves it."""

    def skip(self, batches: int) -> None:
        """Skip the next `batches` batches."""


class Steered(Protocol):
    """The live parts of a run between two steps."""

    knobs: Knobs
    progress: Progress
    norms: NDArray[np.float32]
    make_room: Callable[[int], bool]
    """Called with a number of bytes when memory is short; True if something was dropped to free memory."""

    @property
    def environment(self) -> dict[str, Any]:
        """What it is trained on, as in RunStarted: decides whether numbers repeat bit for bit."""

    @property
    def config(self) -> Recipe: ...

    @property
    def schedule(self) -> Shape: ...

    @property
    def cursor(self) -> Data: ...

    def freeze(self) -> Snapshot:
        """Return a copy of everything that the next steps depend on; the same object until something changes."""

    def thaw(self, snapshot: Snapshot) -> None:
        """Restore a snapshot, knobs included."""


class Reports(Protocol):
    """Reports the numbers of the steps."""

    def flush(self) -> Any:
        """Yield the events of all steps that were not reported yet."""

    def moved(self) -> None:
        """Count from the run's present step after it was moved to another one."""
