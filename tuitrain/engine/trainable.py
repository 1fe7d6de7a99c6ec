"""The interfaces that the loop needs from a built-in model and from the work beside it; extends `Steered`."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tuitrain.engine.rows import Rows
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steered import Data, Shape, Steered
from tuitrain.engine.steering import Steering
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import EpochEnded, Event
from tuitrain.protocol.findings import Measured


class Batches(Data, Protocol):
    """The source of batches."""

    index: int
    """Number of batches of this epoch that were taken."""
    epoch: int

    @property
    def batches_per_epoch(self) -> int: ...

    @property
    def epochs_done(self) -> float:
        """Number of passes over the training part so far, including the fraction of the current one."""


class Curve(Shape, Protocol):
    """The learning-rate schedule."""

    @property
    def landing(self) -> bool:
        """Whether a landing is in progress."""


class Instruments(Protocol):
    """Measurements of some of the steps."""

    def forget(self) -> None:
        """Discard unreported measurements, after the run was moved to another step."""

    def measured(self, branch: int, upto: int) -> Iterator[Measured]:
        """Yield the measurements up to a step that were not reported yet."""


class Trainable(Steered, Protocol):
    """A model with its data and optimizer, trained one step at a time."""

    remarks: list[str]
    """Messages for a person before the first step."""

    @property
    def device(self) -> torch.device: ...

    @property
    def cursor(self) -> Batches: ...

    @property
    def schedule(self) -> Curve: ...

    @property
    def rows(self) -> Rows:
        """The numbers of the last steps: `reporter.COLUMNS`, then the norm of each group."""

    @property
    def groups(self) -> Sequence[str]:
        """The parameter groups that norms are reported for."""

    @property
    def instruments(self) -> Instruments: ...

    @property
    def graph(self) -> str:
        """How steps will run, as a CUDA graph or not, in words."""

    @property
    def graph_missing(self) -> bool:
        """Whether a CUDA graph was required and could not be captured."""

    def capture(self) -> None:
        """Capture the step as a CUDA graph where possible."""

    def start_training_thread(self) -> None:
        """Apply the settings of the thread that trains; called in it."""

    def learn(self) -> None:
        """Make one training step."""

    def absorb(self, rows: NDArray[np.float32]) -> None:
        """Update the running means that snapshots contain with new rows."""

    def state(self) -> Snapshot:
        """Return the present state without copying it: use it before anything changes."""


class Aside(Protocol):
    """Work beside training, done in slices between steps: evaluations, samples, probes."""

    answers: tuple[type[Command], ...]
    """The commands that it carries out."""

    @property
    def busy(self) -> bool:
        """Whether work is in progress."""

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Start what is due after a step (`epoch`: of the epoch that it ended) and continue work in progress."""

    def while_paused(self) -> Iterator[Event]:
        """Continue work in progress while training is paused."""

    @property
    def closing_seconds(self) -> float:
        """Estimated seconds of `finish(everything=True)`; 0 where nothing is known yet."""

    def finish(self, everything: bool, until: float = math.inf) -> Iterator[Event]:
        """At the end of the run: finish requested work, and with `everything` also the work due at the end.

        What is unfinished at `until`, a time of the clock, is left out with a remark.
        """

    def answer(self, command: Command, steering: Steering) -> Iterator[Event]:
        """Carry out a command. Raises Refused."""


Complete = Callable[[EpochEnded], EpochEnded]
"""Adds the fields of an EpochEnded that the loop does not know."""
