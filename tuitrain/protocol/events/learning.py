"""What was learned: steps, epochs, evaluations, samples."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuitrain.protocol.events.base import Event, Flags, Floats, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsDone(Event):
    """The numbers of consecutive steps from `first_step`, one per step in `loss` and `grad_norm`.

    The other arrays hold one number per step whose (step - 1) is divisible by `every`.
    """

    branch: int
    first_step: int
    epoch: float
    loss: Floats
    grad_norm: Floats
    every: int
    clipped: Flags
    skipped: Flags
    lr: Floats
    clip: Floats
    norms: Mapping[str, Floats]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Event):
    """Values that the loop logged under a name of its own, each with its step."""

    branch: int
    name: str
    steps: Flags
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped(Event):
    """`count` steps with non-finite numbers were not applied to the weights, the first of them `onset`."""

    branch: int
    step: int
    onset: int
    rule: str
    value: float
    threshold: float
    count: int
    streak: int
    sentence: str
    kept: bool = True
    """Whether the numbers were kept from the weights; somebody's own loop applies its steps anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded(Event):
    """One pass over the train split; `val_loss` is the evaluation of `val_step`, None before the first."""

    branch: int
    step: int
    epoch: int
    loss: float
    val_loss: float | None
    val_step: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """Validation loss of the weights as they were at `step`.

    `part`: measured on a small fixed part of the validation text; comparable only with others of that part, never best.
    """

    branch: int
    step: int
    loss: float
    bpc: float
    best: bool
    characters: int
    reason: str
    seconds: float
    part: bool = False
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePiece(Event):
    """A few characters of a sample being drawn, with each one's surprise in bits. Only streamed, never journaled."""

    branch: int
    step: int
    temperature: float
    prompt: str
    text: str
    bits: Floats
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDrawn(Event):
    """A complete sample from the weights of `step`; `health` holds measurements of its text."""

    branch: int
    step: int
    temperature: float
    prompt: str
    text: str
    health: Json
    id: str = ""
    by: str = ""
