"""Events about a run's health: measurements, and the diagnosis drawn from them.

Conventions as of the events. A `rule` and a `cause` are those of troubles.py; `onset` is the step at which the trouble
began.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tuitrain.protocol.events import Event, Floats, Json

HELPED, HURT, NO_DIFFERENCE = WORDS = ("helped", "hurt", "no difference seen")
"""What an intervention turned out to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Event):
    """Measurements of every `every`-th step from `first_step` on, one number per measured step.

    Per parameter group the L2 norm of the `weights` and the norm of the update divided by it; per matrix of the
    recurrent layers the root mean square of g / sqrt(v); per layer and gate the share of the squared gradient norm.
    """

    branch: int
    first_step: int
    every: int
    weights: Mapping[str, Floats]
    update_ratio: Mapping[str, Floats]
    rms: Mapping[str, Floats]
    gates: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Event):
    """The probe measured a fixed held-out batch with the weights of `step`; `layers` from the bottom up."""

    branch: int
    step: int
    loss: float
    entropy: float
    layers: tuple[Json, ...]
    reason: str
    seconds: float
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackBoxKept(Event):
    """The time around an onset was stored: `streams` with the highest losses, and gradient `shares`.

    `replayed` are losses under the weights of an earlier restore point: of the batches before the onset (`usual`) and
    of those at it (`onset`). If the latter is higher, the text changed. Empty if there is no such point.
    """

    branch: int
    step: int
    onset: int
    path: str
    streams: tuple[Json, ...]
    shares: Mapping[str, float]
    replayed: Mapping[str, float]
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRaised(Event):
    """An early sign of trouble was found; nothing is broken yet."""

    branch: int
    step: int
    onset: int
    rule: str
    value: float
    threshold: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRaised(Event):
    """Training broke at `onset`; `since` names the knob that was changed shortly before, if any."""

    branch: int
    step: int
    onset: int
    rule: str
    value: float
    threshold: float
    sentence: str
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached(Event):
    """A cause was identified, with its evidence, the runner-up and what speaks `against` it; `remedy` is a key."""

    branch: int
    step: int
    onset: int
    cause: str
    sentence: str
    evidence: tuple[str, ...]
    runner_up: str
    against: str
    remedy: str
    alarming: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceGiven(Event):
    """A better value of a knob was derived from the run's own numbers."""

    branch: int
    step: int
    knob: str
    value: float
    low: float
    high: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InterventionJudged(Event):
    """A control without the intervention at `step` was compared over `steps` steps; `word` is one of WORDS.

    `difference` is the mean training loss of the run minus the control's, with its standard error. `paired`: both read
    the same batches, which a rollback's do not.
    """

    branch: int
    step: int
    what: str
    word: str
    difference: float
    error: float
    steps: int
    paired: bool
    sentence: str
    id: str = ""
    by: str = ""
