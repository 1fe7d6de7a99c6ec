"""Races of other knobs from a restore point."""

from dataclasses import dataclass

from tuitrain.protocol.events.base import Event, Floats


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
    advice: str = ""
    """The one of the sentences that names the recommended arm; empty if there is none."""
    id: str = ""
    by: str = ""
