"""Judges why training broke: weighs the evidence for and against each cause, from numbers around the onset. Pure.

Each cause has a list of signs; an unknown sign counts neither way. The cause with the most weight wins if it has at
least two signs and a clear lead; otherwise the verdict is `unclear` and says why. Signs and thresholds come from
natural collapses and injected faults, see tests/diagnosis.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tuitrain import specs, troubles
from tuitrain.diagnosis.acts import since
from tuitrain.diagnosis.growth import LARGE
from tuitrain.diagnosis.signs import Signs
from tuitrain.specs import check_declared
from tuitrain.telemetry.units import many, number, percent
from tuitrain.troubles import Cause

CLEAR = 0.1
"""Minimum rise of the loss, in nats, for telling apart whether text or weights explain it."""

MUCH = 1.5
"""Factor from which on a raised rate is strong evidence."""
NO_FLOW, LITTLE = 1e-8, 0.1
"""Shares of a gradient that count as none: through a window, and in the recurrent layers."""
AT_ENDS = 0.9
"""Share of saturated gates above which units count as stuck."""
NO_OTHER = "no sign points to another cause"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A cause with its evidence; `against` is what speaks against the runner-up, which is empty if there is none."""

    cause: str
    sentence: str
    evidence: tuple[str, ...]
    runner_up: str
    against: str
    remedy: str


@dataclass(slots=True)
class _Case:
    weight: float = 0.0
    pro: list[str] = field(default_factory=list)
    con: list[str] = field(default_factory=list)

    def weigh(self, true: bool, weight: float, pro: str, con: str = "") -> None:
        """Count a sign for the cause if it is `true`, else, if `con` is given, half its weight against it."""
        if true:
            self.weight += weight
            self.pro.append(pro)
        elif con:
            self.weight -= weight / 2
            self.con.append(con)


def judge(signs: Signs) -> Judgement:
    """Return the most likely cause. Only causes with a sign for them are named, also as the runner-up."""
    cases = {cause: case for cause, case in _cases(signs) if case.pro}
    order = sorted(cases, key=lambda cause: cases[cause].weight, reverse=True)
    first, second = [*order, None, None][:2]
    best, next_ = (_Case() if cause is None else cases[cause] for cause in (first, second))
    evidence = tuple(_evidence(signs, first, best))
    runner_up = "" if second is None else second.name
    against = "; ".join(next_.con)
    if first is None or len(best.pro) < 2 or best.weight < 2 or best.weight - next_.weight < 0.5:
        why = "two causes fit alike" if len(best.pro) >= 2 and best.weight >= 2 else "too few signs point one way"
        names = " or ".join(cause.words for cause in (first, second) if cause is not None)
        unclear = troubles.UNCLEAR
        words = unclear.words_in(own=signs.own)
        return Judgement(unclear.name, f"{words.sentence} Cannot tell yet, because {why}: {names or 'to none'}.",
                         evidence, runner_up, against or ("it has signs of its own" if second else NO_OTHER),
                         words.remedy)
    against = against or (f"fewer signs: {len(next_.pro)} against {len(best.pro)}" if second else NO_OTHER)
    words = first.words_in(own=signs.own, made=signs.made)
    return Judgement(first.name, words.sentence, evidence, runner_up, against, words.remedy)


def _evidence(signs: Signs, cause: Cause | None, case: "_Case") -> Iterator[str]:
    """Yield the alarm's sentence, the act that may have caused it and the signs, each once."""
    act = since(signs.raised) if cause is not None and cause.of_steps else ""
    yield from dict.fromkeys(words for words in (signs.reason, act, *case.pro) if words)


def _cases(s: Signs) -> Iterator[tuple[Cause, _Case]]:
    for cause, weigh in WEIGHED.items():
        yield cause, weigh(s)


def _lr(s: Signs) -> _Case:
    case = _Case()
    if s.rule is None or not s.rule.loss:
        return case
    for act in s.raised:
        if act.knob == "lr" or not specs.optimizer(s.optimizer).bounded:  # without that, the clip bounds a step
            case.weigh(True, 2 if act.factor >= MUCH else 1, since(s.raised))
            break
    excess = None if s.update_jump is None else s.update_jump / max(1.0, _norm_for(s))
    if excess is not None and s.update_jump is not None:
        case.weigh(excess > 2.2, 2 if excess > 4 else 1,
                   f"each step moves the weights {number(s.update_jump, 2)} times as far as before",
                   f"the steps are no larger than before (x{number(s.update_jump, 2)})")
    if s.surprise is not None and specs.optimizer(s.optimizer).divides:
        case.weigh(s.surprise > 2.5 and (excess or 0) > 2.2, 0.5,
                   f"gradients are {number(s.surprise, 2)} times their recent average")
    if s.growth is not None:
        case.weigh(s.growth > 0.03, 1, f"the weights grew by {percent(s.growth)} {s.span}",
                   f"the weights hardly grew ({percent(s.growth)})")
    if s.saturation_jump is not None:
        case.weigh(s.saturation_jump > 0.08, 0.7, f"gates at their ends: {percent(s.saturation_jump)} more than before")
    if s.spike is not None:
        case.weigh(s.spike < 10, 0.7, f"no gradient stood out (largest {number(s.spike, 2)} medians)",
                   f"a single gradient of {number(s.spike, 2)} medians stood at the onset")
    if s.early_spikes:
        case.weigh(False, 2, "", f"{many(s.early_spikes, 'spike')} came before the level moved")
    _held_out(case, s)
    return case


def _norm_for(s: Signs) -> float:
    """Return the factor of larger updates that larger gradients explain: 1 if the optimizer divides them out."""
    if s.norm_jump is None:
        return 1.0
    return 1.0 if specs.optimizer(s.optimizer).bounded else s.norm_jump


def _exploding(s: Signs) -> _Case:
    case = _Case()
    if s.rule is None or not s.rule.loss:
        return case
    if s.spike is not None:
        if any(act.knob == "clip" for act in s.raised):
            case.weigh(s.spike >= 10, 1, since(s.raised))
        case.weigh(s.spike >= 10, 2, f"a gradient {number(s.spike, 2)} times the median at the onset",
                   f"no gradient stood out (largest {number(s.spike, 2)} medians)")
    if s.early_spikes:
        case.weigh(True, 1.5, f"{many(s.early_spikes, 'gradient')} above 20 medians before "
                              f"{'the text' if s.own else 'training'} broke")
    if s.worst_flow is not None:
        case.weigh(s.worst_flow > 10, 1.2, f"in the worst example the gradient is {number(s.worst_flow, 2)} times as "
                                           "large earlier in time as at the last step",
                   f"the gradient does not grow back through time (worst {number(s.worst_flow, 2)})")
    if s.radius is not None:
        case.weigh(s.radius > LARGE, 1.2, f"the recurrent weights could make a gradient {number(s.radius, 2)} times as "
                                          "large with each step back through time (spectral radius before it broke)",
                   f"the recurrent weights were small before it broke (spectral radius {number(s.radius, 2)})")
    if s.recurrent_share is not None:
        case.weigh(s.recurrent_share > 0.85, 0.5, f"{percent(s.recurrent_share)} of it is in the recurrent layers")
    if s.update_jump is not None and s.update_jump / max(1.0, _norm_for(s)) > 2.2:
        case.weigh(False, 2, "", f"every step is {number(s.update_jump, 2)} times as long, which a spike does not do")
    _held_out(case, s)
    return case


def _held_out(case: _Case, s: Signs) -> None:
    if s.loss_jump is None or s.loss_jump < CLEAR:
        return
    if s.replay_jump is not None:
        case.weigh(s.replay_jump < 0.25 * s.loss_jump, 0.7,
                   "the weights from before read this very text as well as any",
                   "the weights from before find this text hard, too")
    if s.val_jump is not None:
        case.weigh(s.val_jump > 0.4 * s.loss_jump, 1, f"other text became harder too (+{number(s.val_jump, 2)} nats)",
                   "other text is read as well as before")


def _data(s: Signs) -> _Case:
    case = _Case()
    if s.rule is not troubles.LEVEL or s.loss_jump is None or s.loss_jump < CLEAR:
        return case
    if s.val_jump is not None:
        case.weigh(s.val_jump < 0.4 * s.loss_jump, 2,
                   f"held-out text is read nearly as well as before (+{number(max(0.0, s.val_jump), 2)} nats, "
                   f"this text +{number(s.loss_jump, 2)})",
                   f"held-out text became harder too (+{number(s.val_jump, 2)} nats)")
    if s.replay_jump is not None:
        case.weigh(s.replay_jump > 0.4 * s.loss_jump, 3.5,
                   f"the weights from before find this text {number(s.replay_jump, 2)} nats harder than that before it",
                   f"the weights from before read this very text as well as any ({number(s.replay_jump, 2)} nats)")
        if s.replay_jump <= 0.4 * s.loss_jump:
            case.weight -= 2
    if s.growth is not None:
        case.weigh(s.growth < 0.03, 1, f"the weights hardly moved ({percent(max(0.0, s.growth))})",
                   f"the weights grew by {percent(s.growth)}")
    if s.saturation_jump is not None:
        case.weigh(s.saturation_jump < 0.08, 0.5, "the gates work as before", "more gates are at their ends")
    if s.update_jump is not None:
        case.weigh(s.update_jump < 4, 0.5, "the steps are about as long as before")
    return case


def _overfitting(s: Signs) -> _Case:
    case = _Case()
    case.weigh(s.overfits, 3, "validation stayed above its best four times in a row")
    if s.overfits:
        case.weigh(True, 1, "the training loss kept falling meanwhile")
    return case


def _non_finite(s: Signs) -> _Case:
    case = _Case()
    case.weigh(s.skipped > 0, 4, f"{many(s.skipped, 'step')} whose loss or gradient was not finite")
    if s.skipped:
        case.weigh(True, 1, "everything before them was finite")
    return case


def _dead(s: Signs) -> _Case:
    case = _Case()
    stuck = s.rule is not None and s.rule.stuck
    pinned = s.saturation is None or s.saturation > AT_ENDS  # units that are merely idle are not stuck
    if s.dead is not None:
        case.weigh(s.dead > 0.3, 2 if pinned else 1, f"{percent(s.dead)} of the units never move")
    if s.saturation is not None:
        words = f"{percent(s.saturation)} of the gates are at their ends"
        case.weigh(pinned, 1.5, words, f"only {words}")
    if stuck:
        case.weigh(True, 1, "the loss does not get below that of counting letters")
    return case


def _vanishing(s: Signs) -> _Case:
    case = _Case()
    if s.rule is None or not s.rule.stuck:
        return case
    if s.flow is not None:
        case.weigh(s.flow < NO_FLOW, 1.5, "no gradient reaches the start of a window in any layer")
    if s.recurrent_share is not None:
        case.weigh(s.recurrent_share < LITTLE, 1.5,
                   f"only {percent(s.recurrent_share)} of the gradient is in the recurrent layers",
                   f"{percent(s.recurrent_share)} of the gradient is in the recurrent layers")
    if case.pro:
        case.weigh(True, 1, "the loss does not get below that of counting letters")
    if s.dead is not None and s.dead > 0.3 and s.saturation is not None and s.saturation > AT_ENDS:
        case.weigh(False, 1, "", f"{percent(s.dead)} of the units never move, and those pass nothing on")
    return case


def _plateau(s: Signs) -> _Case:
    case = _Case()
    if s.rule is None or not s.rule.stuck:
        return case
    case.weigh(True, 1, "the loss does not get below that of counting letters")
    if s.dead is not None:
        case.weigh(s.dead < 0.3, 0.7, "the units are alive", f"{percent(s.dead)} of the units never move")
    if s.recurrent_share is not None and s.recurrent_share < LITTLE:
        case.weigh(False, 3, "", "hardly any gradient arrives, so the weights cannot move")
    else:
        case.weigh(s.unchanged, 1.5, "the weights hardly move from step to step")
    return case


WEIGHED: Final = {
    troubles.LR_TOO_HIGH: _lr, troubles.EXPLODING: _exploding, troubles.BAD_DATA: _data,
    troubles.OVERFITTING: _overfitting, troubles.NON_FINITE: _non_finite, troubles.DEAD: _dead,
    troubles.VANISHING: _vanishing, troubles.PLATEAU: _plateau,
}
"""How each cause is weighed; an odd batch is not weighed but waited for (analyst.py)."""
check_declared("causes", (c.name for c in troubles.CAUSES.values() if c.fault and c is not troubles.ODD_BATCH),
               (c.name for c in WEIGHED))
