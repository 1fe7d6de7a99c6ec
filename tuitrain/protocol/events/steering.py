"""What was asked for and what became of it: knobs, rollbacks, pauses, notes."""

from dataclasses import dataclass, field

from tuitrain.knobs import Value
from tuitrain.protocol.events.base import Event, Json


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
class WorkAdvanced(Event):
    """Progress of a long command: `done` of `of`. Only streamed, never journaled.

    `answers` is the command's id; as `id` only the final answer carries it.
    """

    what: str
    done: int
    of: int
    answers: str


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
