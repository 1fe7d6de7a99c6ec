"""What happened, in the past tense: one frozen class each. Knows nothing of who caused or reads an event.

Losses are nats per character, norms are global L2 norms before clipping, `seconds` are wall time, `bytes` bytes.
`step` counts optimizer updates from 1, `branch` the lineages that rollbacks open, from 0. An event that opens a
branch names its `parent`, the branch that it continues; None if it opens none, and in journals of older versions.
An event that answers a command carries its `id` and `by` (who sent it); otherwise `id` is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuitrain.knobs import Value

Floats = tuple[float, ...]
Flags = tuple[int, ...]
Json = Mapping[str, Any]
INTERVAL, EPOCH, BEST, END = "interval", "epoch", "best", "end"
"""Reasons of evaluations, restore points and checkpoints that come by themselves."""
CRASHED = "crashed"
"""The reason of an end that nobody wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""


def id_of(event: Event) -> str:
    """The id of the command that an event answers; empty if it answers none."""
    return str(getattr(event, "id", ""))


def by_of(event: Event) -> str:
    """Who asked for what an event reports; empty if nobody did."""
    return str(getattr(event, "by", ""))


def branch_of(event: Event, otherwise: int) -> int:
    """The branch of an event; `otherwise` for one that belongs to none."""
    return int(getattr(event, "branch", otherwise))


def step_of(event: Event, otherwise: int) -> int:
    """The step of an event: where a rollback led to; `otherwise` for one that belongs to no step."""
    return int(event.to_step if isinstance(event, RolledBack) else getattr(event, "step", otherwise))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A new run started; `config` is the sealed configuration, `facts` what is known of corpus and model."""

    config: Json
    vocabulary: str
    versions: Json
    device: str
    threads: int
    precision: str
    facts: Json
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A run was resumed from `checkpoint`; `exact` says whether bit for bit, `why_not` why not."""

    branch: int
    step: int
    checkpoint: str
    exact: bool
    why_not: str
    config: Json
    vocabulary: str
    versions: Json
    device: str
    threads: int
    precision: str
    facts: Json
    parent: int | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The last event of a run: finished, stopped, interrupted, terminated, diverged or crashed."""

    reason: str
    exit_code: int
    branch: int
    step: int
    message: str = ""
    traceback: str = ""
    id: str = ""
    by: str = ""


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
class FactsAdded(Event):
    """Facts learned after the start of the run; they replace those of the same names."""

    facts: Json


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAdvanced(Event):
    """Progress of a long command: `done` of `of`. Only streamed, never journaled.

    `answers` is the command's id; as `id` only the final answer carries it.
    """

    what: str
    done: int
    of: int
    answers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobChanged(Event):
    """A knob was changed; the new value applies from the step after `step`.

    `since` is the value before the first of several quick changes, all of which one undo takes back.
    """

    branch: int
    step: int
    name: str
    old: Value
    new: Value
    id: str
    by: str
    since: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChanged(Event):
    """The prompt of samples was changed."""

    branch: int
    step: int
    old: str
    new: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRefused(Event):
    """A command was refused, with the reason."""

    id: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone(Event):
    """The last intervention was undone; `what` describes it, `step` is where training continues.

    `point` is the restore point that was restored, empty if none was; `schedule` the state of the schedule from now on.
    """

    id: str
    by: str
    what: str
    branch: int
    step: int
    knobs: Json
    parent: int | None = None
    point: str = ""
    schedule: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken(Event):
    """A snapshot was taken in memory; `healthy` if training had not broken by then."""

    branch: int
    step: int
    id: str
    by: str
    reason: str
    pinned: bool
    bytes: int
    point: str
    healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDropped(Event):
    """A snapshot in memory was dropped."""

    branch: int
    step: int
    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint was committed on disk, checksummed; `healthy` if training had not broken by then."""

    branch: int
    step: int
    id: str
    by: str
    reason: str
    path: str
    bytes: int
    seconds: float
    params_sha256: str
    healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPruned(Event):
    """A checkpoint was removed by the retention rules."""

    branch: int
    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingFailed(Event):
    """A checkpoint could not be written; training continues and saving is retried."""

    branch: int
    step: int
    path: str
    reason: str
    bytes_needed: int
    bytes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingRecovered(Event):
    """Saving works again after `failures` failed attempts."""

    branch: int
    step: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Event):
    """The state of `to_step` was restored on the new `branch`, with `knobs` in force."""

    from_branch: int
    from_step: int
    to_step: int
    branch: int
    id: str
    by: str
    knobs: Json
    asked: int | None
    point: str
    parent: int | None = None
    skip_batches: int = 0
    arm: str = ""
    """The folder of the arm of a race whose steps follow, under the run's; empty if they were trained here."""
    moments: float = 1.0
    """The factor by which the optimizer's moments were multiplied, their squares by its square."""


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
class Paused(Event):
    """Training was paused at a step boundary."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Event):
    """Training was continued after a pause."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardModeChanged(Event):
    """The guard's mode, what it does when training breaks, was changed."""

    branch: int
    step: int
    old: str
    new: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingStarted(Event):
    """The learning rate began its decay to almost zero over the next `steps` steps."""

    branch: int
    step: int
    steps: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAdded(Event):
    """A person added a note to the time line."""

    branch: int
    step: int
    text: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed(Event):
    """Somebody dismissed the current warning."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceStarted(Event):
    """Arms, by name, are trained `steps` steps each from restore point `point` of (`branch`, `step`).

    `race` is the folder under the run's `futures`; `where` the place of the arms, in words. Training `stands` meanwhile
    or not. A control for a judgement is a race of one arm, of the `mark` in words.
    """

    race: str
    branch: int
    step: int
    point: str
    arms: tuple[str, ...]
    steps: int
    where: str
    stands: bool
    lasts: bool = False
    """Whether its arms go on without the process that trains the run."""
    mark: str = ""
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAdvanced(Event):
    """An arm, counted from 1, was trained on: its losses from `first_step` on, and its numbers up to there.

    Differences are those to the first arm, with their standard error. `state` is empty while it trains, then `whole`,
    `cut` or `failed`.
    """

    race: str
    arm: int
    folder: str
    first_step: int
    loss: Floats
    state: str
    difference: float
    error: float
    validation: float
    validation_difference: float
    validation_error: float
    tail: float
    largest: float
    clipped: float
    update: float
    growth: float
    radius_before: float
    radius: float
    signs: tuple[str, ...]
    sample: str = ""
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceEnded(Event):
    """A race ended: `finished`, `cancelled` or words for a person. 0 where no arm is recommended or the runner-up."""

    race: str
    branch: int
    step: int
    reason: str
    recommended: int
    runner_up: int
    sentences: tuple[str, ...]
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsed(Event):
    """Resources in use by the training process: bytes, GPU load in percent, degrees Celsius; None where unknown."""

    memory: int
    memory_total: int
    gpu_load: float | None
    gpu_temperature: float | None
    gpu_memory: int | None
    gpu_memory_total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientJoined(Event):
    """Another terminal or script was attached."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeft(Event):
    """A terminal or script was detached."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSaid(Event):
    """A message for a person; `level` is info or warning. With an id it answers a command that had nothing to do."""

    text: str
    level: str = "info"
    id: str = ""
    by: str = ""
