"""What the loop needs of a model of ours that is trained: more than steering needs of anybody's."""

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
    """Where the next batch comes from."""

    index: int
    """Batches of this epoch that were taken."""
    epoch: int

    @property
    def batches_per_epoch(self) -> int: ...

    @property
    def epochs_done(self) -> float:
        """Passes over the training part so far, with the share of this one."""


class Curve(Shape, Protocol):
    """What multiplies the learning rate beside the knob."""

    @property
    def landing(self) -> bool:
        """Whether the rate is on its way to almost nothing."""


class Instruments(Protocol):
    """What a few of the steps are measured for."""

    def forget(self) -> None:
        """The run was set to another step."""

    def measured(self, branch: int, upto: int) -> Iterator[Measured]:
        """The readings up to a step that were not told yet."""


class Trainable(Steered, Protocol):
    """A model with its data and its optimizer, a step at a time."""

    remarks: list[str]
    """What a person should know before the first step."""

    @property
    def device(self) -> torch.device: ...

    @property
    def cursor(self) -> Batches: ...

    @property
    def schedule(self) -> Curve: ...

    @property
    def rows(self) -> Rows:
        """The numbers of the last steps: loss, norm and so on (`reporter.COLUMNS`), then the norm of each group."""

    @property
    def groups(self) -> Sequence[str]:
        """The parameter groups that norms are reported for."""

    @property
    def instruments(self) -> Instruments: ...

    @property
    def graph(self) -> str:
        """How the steps will run, in words."""

    @property
    def graph_missing(self) -> bool:
        """Whether a graph was insisted on and there is none."""

    def capture(self) -> None:
        """Make the steps as quick as this device can."""

    def start_training_thread(self) -> None:
        """Thread settings that belong to the thread that trains."""

    def learn(self) -> None:
        """One step."""

    def absorb(self, rows: NDArray[np.float32]) -> None:
        """Fold rows into the running means that snapshots carry."""

    def state(self) -> Snapshot:
        """The present state without a copy: nothing may change before it is used."""


class Aside(Protocol):
    """Something that is done beside training, in slices between steps."""

    answers: tuple[type[Command], ...]
    """The commands that it answers."""

    @property
    def busy(self) -> bool:
        """Whether something was begun and is not done."""

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """After a step, the last one of an epoch if one is given: begin what is due, go on with what was begun."""

    def rest(self) -> Iterator[Event]:
        """While training is paused: go on with what was begun."""

    def finish(self, everything: bool) -> Iterator[Event]:
        """At the end of the run: finish what somebody waits for, and with `everything` what a run ends with."""

    def answer(self, command: Command, steering: Steering) -> Iterator[Event]:
        """Do what was asked. Raises Refused."""


Complete = Callable[[EpochEnded], EpochEnded]
"""Adds to the line of an epoch what the loop does not know of it."""
