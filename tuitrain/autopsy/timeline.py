"""Where training broke: the last healthy checkpoint and the first broken one, from losses in their order. Pure.

Broken is who left the best loss so far for good, by more than it usually varies. A model that has learned nothing yet
has a high loss, too; but it has left nothing. A rise without a jump and without worse samples is overfitting.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tuitrain.autopsy.examination import Examined

LEAST, SHARE, NOISE = 0.15, 0.15, 4.0
"""How far above the best so far is broken: at least so many nats, so much of the way from the best to counting letters,
and so many times the median change between neighbours."""
LEARNED = 0.05
"""Nats below counting letters from which on a model has learned something."""
WORSE = 0.2
"""Rise of the gibberish index from which on samples have become worse."""
OVERFITS, AGAIN = 4, 0.02
"""Checkpoints in a row, at the end, that are so many nats or more above the best."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Positions in the list of checkpoints, None where there is no such one. `margin` in nats."""

    last_healthy: int | None
    first_broken: int | None
    best: int | None
    margin: float
    learned: bool
    """Whether any of them is better than counting letters."""
    recovered: tuple[int, ...] = ()
    """Those that had left the level and came back to it."""
    overfits: bool = False


def timeline(checkpoints: Sequence[Examined], letters: float) -> Timeline:
    """Return where training broke; `letters` is the loss of counting letters alone, in nats."""
    losses = [math.inf if each.loss is None else each.loss for each in checkpoints]
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return Timeline(None, 0 if losses else None, None, LEAST, False)
    best = losses.index(min(finite))
    bests = [min(losses[: i + 1]) for i in range(len(losses))]
    changes = [abs(b - a) for a, b in pairwise(losses) if math.isfinite(a) and math.isfinite(b)]
    # In a set that breaks half-way the changes are of two kinds of weights; the smaller half is the healthy one's.
    usual = median(sorted(changes)[: max(1, (len(changes) + 1) // 2)]) if changes else 0.0
    margin = max(LEAST, SHARE * max(0.0, letters - losses[best]), NOISE * usual)
    away = [i > 0 and loss > bests[i - 1] + margin for i, loss in enumerate(losses)]
    broken = next((i for i in range(1, len(losses)) if all(away[i:])), None) if away[-1] else None
    learned = losses[best] < letters - LEARNED
    if broken is not None and _only_rises(checkpoints, losses, broken, margin, letters):
        broken = None
    end = len(losses) if broken is None else broken
    healthy = next((i for i in reversed(range(end)) if math.isfinite(losses[i]) and not away[i]), None)
    recovered = tuple(i for i in range(end) if away[i] and any(not other for other in away[i:end]))
    overfits = broken is None and learned and len(losses) - best > OVERFITS and all(
        loss > losses[best] + AGAIN for loss in losses[-OVERFITS:]) and losses[-1] > losses[-OVERFITS]
    if not learned and broken is None:
        healthy = None
    return Timeline(healthy, broken, best, margin, learned, recovered, overfits)


def _only_rises(checkpoints: Sequence[Examined], losses: Sequence[float], broken: int, margin: float,
                letters: float) -> bool:
    """Whether the loss rises step by step while samples stay as good, as when a text is learned by heart."""
    steps = [b - a for a, b in pairwise(losses[broken - 1 :])]
    known = [each.gibberish for each in checkpoints if math.isfinite(each.gibberish)]
    last = checkpoints[-1].gibberish
    return (max(losses[broken:]) < letters and max(steps) < margin and bool(known) and math.isfinite(last)
            and last < min(known) + WORSE)
