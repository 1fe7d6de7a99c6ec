"""What happened, in the past tense: one frozen class each. Knows nothing of who caused it or who reads it.

Losses are nats per character, norms are global L2 norms before clipping, `seconds` are wall time, `bytes` bytes.
`step` counts optimizer updates from 1, `branch` the lineages that rollbacks open, from 0. An event that opens a
branch names its `parent`, the branch that it goes on from; None where none opens, and in what older versions wrote.
An event that answers a command carries its `id` and `by` (who asked); otherwise `id` is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuitrain.knobs import Value

Floats = tuple[float, ...]
Flags = tuple[int, ...]
Json = Mapping[str, Any]
LOSS_SCALE = "loss_scale"
"""The rule of a skipped step whose gradient did not fit into fp16 under the loss scale: a smaller one is tried next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything that happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A new run begins; `config` is the sealed configuration, `facts` what was read off corpus and model."""

    config: Json
    vocabulary: str
    versions: Json
    device: str
    threads: int
    precision: str
    facts: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A run goes on from `checkpoint`; `exact` says if bit for bit, `why_not` why not."""

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
    """Numbers of a curve that the loop itself keeps, each with its step."""

    branch: int
    name: str
    steps: Flags
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsAdded(Event):
    """More is known of the run than when it began; `facts` take the place of those of the same names."""

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

    `part`: of a small fixed part of the validation text, to be compared with other parts only; never the best.
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
    """A few characters of a sample being drawn, with each one's surprise in bits. Streams only, never journaled."""

    branch: int
    step: int
    temperature: float
    prompt: str
    text: str
    bits: Floats
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDrawn(Event):
    """A whole sample from the weights of `step`; `health` holds its own numbers."""

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
    """What was asked for takes its time: `done` of `of` so far. Streams only, never journaled.

    `answers` is the command's id, which only the answer itself carries as `id`.
    """

    what: str
    done: int
    of: int
    answers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobChanged(Event):
    """A knob has another value from the step after `step` on."""

    branch: int
    step: int
    name: str
    old: Value
    new: Value
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChanged(Event):
    """Samples start from another text."""

    branch: int
    step: int
    old: str
    new: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRefused(Event):
    """A command was understood and not carried out."""

    id: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone(Event):
    """The last intervention was taken back; `what` says which, `step` is where training goes on."""

    id: str
    by: str
    what: str
    branch: int
    step: int
    knobs: Json
    parent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken(Event):
    """A restore point in memory; `healthy` if training had not broken then."""

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
    """A restore point in memory was given up."""

    branch: int
    step: int
    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A restore point on disk, committed and checksummed; `healthy` if training had not broken then."""

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
    """Retention removed a checkpoint."""

    branch: int
    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingFailed(Event):
    """A checkpoint could not be written; training goes on and saving is tried again."""

    branch: int
    step: int
    path: str
    reason: str
    bytes_needed: int
    bytes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingRecovered(Event):
    """Saving works again after `failures` failed tries."""

    branch: int
    step: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Event):
    """Everything is as it was at `to_step`, on the new `branch`, with `knobs` in force."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped(Event):
    """Non-finite numbers were kept from the weights: `count` steps, the first of them `onset`."""

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
    """Whether they were kept from the weights: somebody's own loop makes its steps all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """Training waits at a step boundary."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Event):
    """Training goes on."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardModeChanged(Event):
    """What the automatic pilot does when training breaks."""

    branch: int
    step: int
    old: str
    new: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingStarted(Event):
    """The learning rate goes to almost zero over the next `steps` steps."""

    branch: int
    step: int
    steps: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAdded(Event):
    """A person's own words on the time line."""

    branch: int
    step: int
    text: str
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed(Event):
    """Somebody has seen the warning that stood and lets it be."""

    branch: int
    step: int
    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsed(Event):
    """What the training process uses: bytes, a GPU's load in percent and degrees Celsius; None where unknown."""

    memory: int
    memory_total: int
    gpu_load: float | None
    gpu_temperature: float | None
    gpu_memory: int | None
    gpu_memory_total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientJoined(Event):
    """Another terminal or script is attached."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeft(Event):
    """One terminal or script less."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSaid(Event):
    """A remark a person should see; `level` is info or warning."""

    text: str
    level: str = "info"
