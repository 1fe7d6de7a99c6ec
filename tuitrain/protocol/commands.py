"""Commands to the engine, in the imperative: one frozen class each, answered by an event with the same id."""

from dataclasses import dataclass
from typing import Any

from tuitrain.knobs import Value, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Base of all commands; `by` names the sender: a person, the guard, a script."""

    id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetKnob(Command):
    """Set a knob to a value."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleKnob(Command):
    """Multiply a knob; the engine applies the factor to the value in force."""

    name: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrompt(Command):
    """Start samples from this text; `random` takes excerpts of the validation text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Command):
    """Wait at the next step boundary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue(Command):
    """Go on after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSample(Command):
    """Draw a sample from the weights as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(Command):
    """Measure the validation loss of the weights as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCheckpoint(Command):
    """Write a pinned checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeSnapshot(Command):
    """Take a pinned snapshot in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookInside(Command):
    """Run the probe's instruments on the weights as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBlackBox(Command):
    """Store the batches and measurements around step `onset`."""

    onset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PinSnapshot(Command):
    """Pin the newest snapshot in memory at or before step `to`, so that it is never dropped."""

    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Command):
    """Restore step `to` (None: the last good point) or `point`, then set the knobs; opens a branch.

    `lr_factor` multiplies the smaller of the rate in force and the point's, `clip_factor` the clip in force. `healthy`
    rejects points whose loss was already broken and takes the newest healthy one before step `to`.
    """

    to: int | None = None
    point: str = ""
    lr_factor: float | None = None
    clip: float | str | None = None
    skip_batches: int = 0
    lr: float | None = None
    clip_factor: float | None = None
    healthy: bool = False


def going_on(lr: Wish | None, clip: Wish | None) -> dict[str, Any]:
    """Return the Rollback fields for the knob values that a person typed; None leaves a knob unchanged."""
    fields: dict[str, Any] = {}
    for name, asked in (("lr", lr), ("clip", clip)):
        if asked is not None:
            fields |= {name: asked.value} if asked.factor is None else {f"{name}_factor": asked.factor}
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Command):
    """Undo the last intervention; `weights` also restores the weights from before it."""

    weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Land(Command):
    """Decay the learning rate to almost zero over the next `steps` steps (None: a tenth of those done)."""

    steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetGuardMode(Command):
    """Set what the guard does when training breaks: warn, pause, rollback or stop."""

    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNote(Command):
    """Add a note to the time line."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismiss(Command):
    """Dismiss the current warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRace(Command):
    """Train arms of `steps` steps each from a restore point (empty: now), each written as `lr=x0.25 clip=1`.

    The first arm is the run as it is, named or not. Training stands meanwhile, unless it `shares` the machine, or the
    arms are jobs `on` a cluster.
    """

    arms: tuple[str, ...] = ()
    steps: int = 600
    point: str = ""
    shares: bool = False
    on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutArm(Command):
    """End an arm of the race, by its number from 1; the others go on."""

    arm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRace(Command):
    """End the race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeIntervention(Command):
    """Train a control without the intervention after a step of a branch, and say whether it helped."""

    branch: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseArm(Command):
    """Go on where an arm of a race ended, on a new branch; `arm` is its folder under the run's `futures`."""

    arm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Command):
    """Save and end the run with this `reason` and `exit_code`."""

    reason: str = "stopped"
    exit_code: int = 0
