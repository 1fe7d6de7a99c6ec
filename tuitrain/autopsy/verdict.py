"""The cause, through the diagnosis of live runs: numbers of the checkpoints around the break become its signs.

Files say nothing of single steps. Of what is missing some is in Adam's second moments, which remember the gradients of
the last thousand steps; where they are there, they prove or exclude that one was many times the usual.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tuitrain import troubles
from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.timeline import Timeline
from tuitrain.diagnosis.signs import Signs
from tuitrain.diagnosis.verdict import Judgement, judge
from tuitrain.protocol.findings import VerdictReached
from tuitrain.specs import CELLS, optimizer
from tuitrain.telemetry.units import number

LOOK_BACK = 10
"""Neighbours before the break that say what is usual."""
SPIKE = 10.0
"""Multiple of the usual gradient that the diagnosis calls a spike."""
GREW = 0.2
"""Growth of the weights between two neighbours, beyond the usual, that no healthy stretch has."""
DRIFT = 0.75
"""How far weights go in n steps is n to this power: between a walk (.5) and a straight line (1)."""
SIGNS_OF_STEPS = {
    "spike": "whether a single gradient stood out just before (lr_too_high or exploding_gradient)",
    "text": "whether the text itself changed there, or one batch was unlike the rest (bad_data, outlier_batch)",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement, and what could not be told apart and why."""

    judgement: Judgement
    unsure: tuple[str, ...] = ()


def verdict(checkpoints: Sequence[Examined], line: Timeline, letters: float, cell: str,
            betas: tuple[float, float] = (0.9, 0.999), told: Sequence[VerdictReached] = ()) -> Verdict:
    """Return why training broke, or that it did not. `told` are verdicts of the run's own journal, from every step."""
    if line.first_broken is None:
        return Verdict(_unbroken(checkpoints, line, letters))
    there = checkpoints[line.first_broken]
    since = checkpoints[line.last_healthy].step if line.last_healthy is not None else -1
    for event in told:
        if since <= event.onset <= there.step and event.cause != troubles.UNCLEAR.name:
            evidence = (_sentence(checkpoints, line), *event.evidence)
            return Verdict(Judgement(event.cause, event.sentence, evidence, event.runner_up, event.against,
                                     troubles.cause(event.cause).usual.remedy))
    signs = _signs(checkpoints, line, cell, betas)
    unsure = [SIGNS_OF_STEPS["text"] + ": no file says what was read in which step"]
    # No single gradient makes Adam's steps longer than this: where they were, one need not be looked for.
    longest = optimizer("adam").longest(betas, 0.0)
    if signs.spike is None and not (signs.update_jump or 0.0) > longest:
        why = ("its moments would allow both" if there.squares is not None else
               "there are no norms of single steps and no moments of Adam")
        unsure.insert(0, f"{SIGNS_OF_STEPS['spike']}: {why}")
    return Verdict(judge(signs), tuple(unsure))


def _unbroken(checkpoints: Sequence[Examined], line: Timeline, letters: float) -> Judgement:
    best = checkpoints[line.best] if line.best is not None else None
    if best is None or not line.learned:
        last = checkpoints[-1]
        words = f"none of them is better than counting letters ({letters:.2f} nats)"
        signs = Signs("adam", troubles.NO_PROGRESS, reason=words,
                      dead=max((float(layer["dead"]) for layer in last.layers), default=None),
                      saturation=_known(last.saturation()),
                      flow=max((float(layer["first"]) for layer in last.layers), default=None))
        return judge(signs)
    words = f"the best validation loss is {number(best.loss or 0.0)} nats, at {best.name}"
    if line.overfits:
        last = checkpoints[-1]
        return Judgement(troubles.OVERFITTING.name, troubles.OVERFITTING.usual.sentence, (
            words, f"since then it rises without a jump, to {number(last.loss or 0.0)}",
            f"the samples are no worse (gibberish {last.gibberish:.2f})"), "", "no sign points to another cause",
            "go on from the best one with more dropout or weight decay, or stop there")
    recovered = tuple(f"{checkpoints[i].name} had left the level and came back" for i in line.recovered[:3])
    well = troubles.HEALTHY
    return Judgement(well.name, well.usual.sentence, (words, *recovered), "", "", well.usual.remedy)


def _signs(checkpoints: Sequence[Examined], line: Timeline, cell: str, betas: tuple[float, float]) -> Signs:
    at = line.first_broken
    assert at is not None
    there = checkpoints[at]
    before = checkpoints[line.last_healthy] if line.last_healthy is not None else None
    signs = Signs("adam", troubles.LEVEL if there.finite else troubles.NOT_FINITE, reason=_sentence(checkpoints, line),
                  span="between two checkpoints")
    if not there.finite:
        signs.skipped = 1
    if before is None:
        return signs
    signs.radius = _known(before.radius)
    if before.loss is not None and there.loss is not None:
        # The text is one that it was not trained on; of that it was trained on nothing is known.
        signs.loss_jump = signs.val_jump = there.loss - before.loss
    writes = CELLS[cell].writes
    signs.saturation_jump = _known(max((new["saturation"][gate] - old["saturation"][gate] for new, old in
                                        zip(there.layers, before.layers, strict=False) for gate in writes),
                                       default=math.nan))
    signs.saturation = _known(there.saturation())
    signs.dead = _known(max((float(layer["dead"]) for layer in there.layers), default=math.nan))
    # The worst example may be one that the broken weights let nothing through; what led there is in those before.
    signs.worst_flow = _known(max(before.worst, there.worst))
    usual = [_pace(checkpoints, i) for i in range(max(1, at - LOOK_BACK), at)]
    usual = [pace for pace in usual if pace]
    pace = _pace(checkpoints, at)
    if usual and pace:
        signs.update_jump = pace / median(usual)
    grown = [_growth(checkpoints, i) for i in range(max(1, at - LOOK_BACK), at)]
    extra = _growth(checkpoints, at) - (median(grown) if grown else 0.0)
    signs.growth = extra if extra > GREW else None
    signs.spike = _spike(checkpoints, at, betas[1])
    return signs


def _sentence(checkpoints: Sequence[Examined], line: Timeline) -> str:
    assert line.first_broken is not None
    there = checkpoints[line.first_broken]
    if there.loss is None:
        return f"in {there.name} " + ("the loss is not finite" if there.finite else "some weights are not finite")
    words = f"the validation loss is {number(there.loss)} nats at {there.name}"
    if line.last_healthy is None:
        return words
    before = checkpoints[line.last_healthy]
    text = f"{words}, {number(before.loss or math.nan)} at {before.name}, and does not come back"
    if math.isfinite(there.gibberish) and math.isfinite(before.gibberish):
        text += f"; gibberish {before.gibberish:.2f} → {there.gibberish:.2f}"
    return text


def _pace(checkpoints: Sequence[Examined], at: int) -> float:
    """How far the recurrent layers went since the one before, as per step; 0 if unknown."""
    here, steps = checkpoints[at], checkpoints[at].step - checkpoints[at - 1].step
    layers = [distance for group, distance in here.moved.items() if group.startswith("layer")]
    return max(layers, default=0.0) / max(1, steps) ** DRIFT


def _growth(checkpoints: Sequence[Examined], at: int) -> float:
    here, before = checkpoints[at].group_norms(), checkpoints[at - 1].group_norms()
    return max((here[group] / max(before[group], 1e-12) - 1 for group in here
                if group.startswith("layer") and group in before), default=0.0)


def _spike(checkpoints: Sequence[Examined], at: int, beta: float) -> float | None:
    """Return a gradient norm since the checkpoint before, over the usual: the largest if it is surely a spike or none
    can have been, None if the moments allow both.

    v after n steps is b^n v + (1 - b) times the sum of b^k g^2: of that sum both a lower bound of the largest g^2 (all
    alike) and an upper one (a single one) follow.
    """
    here, before = checkpoints[at], checkpoints[at - 1]
    steps = here.step - before.step
    if here.squares is None or not before.squares or steps < 1 or not 0 < beta < 1:
        return None
    kept = beta**steps if steps * -math.log(beta) < 700 else 0.0
    added = max(0.0, here.squares - kept * before.squares)
    least = math.sqrt(added / (1 - kept) / before.squares)
    most = math.sqrt(added / (1 - beta) / before.squares)
    return least if least >= SPIKE else most if most < SPIKE else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
