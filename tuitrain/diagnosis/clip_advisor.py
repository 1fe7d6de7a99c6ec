"""Advises a clip from a run's own gradient norms. Pure numbers; knows no events.

A clip is judged as a multiple of the median norm, because its effect depends on that alone: under Adam a spike of
k medians moves a weight by `kick(k)` steps of the usual size, which hardly grows above 30 medians. So a clip far above
the median has no effect on spikes, and one that acts on every step is divided out again.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuitrain import specs
from tuitrain.telemetry.units import number, percent

LEAST = 200
"""Minimum number of norms for advice."""
LOOK_BACK = 1000
HALF = 0.5
"""Kick up to which a spike is harmless: half a usual step."""
TIGHT, PLAIN = 1.2, 2.5
"""In medians: the lower end of the useful range, and its upper end where the optimizer divides nothing out (SGD)."""
ALWAYS = 0.9


@dataclass(frozen=True, slots=True)
class ClipAdvice:
    """A clip, its useful range and the median norm; `touched` is the share of steps that the clip would cut."""

    value: float
    low: float
    high: float
    median: float
    touched: float
    sentence: str


def kick(k: float, betas: tuple[float, float]) -> float:
    """Return how far a spike of k times the usual gradient moves a weight under Adam, in steps of the usual size."""
    b1, b2 = betas
    return (1 - b1) * k / math.sqrt(1 + (1 - b2) * k * k)


def largest_harmless(betas: tuple[float, float]) -> float:
    """Return the largest spike, in medians, that moves a weight by at most half a usual step; inf if all do."""
    b1, b2 = betas
    left = (1 - b1) ** 2 - HALF**2 * (1 - b2)
    return HALF / math.sqrt(left) if left > 0 else math.inf


def medians(clip: float, norms: NDArray[np.float64]) -> float:
    """Return a clip as a multiple of the median of the finite norms above 0; nan if there are none."""
    good = norms[np.isfinite(norms) & (norms > 0)]
    return clip / float(np.median(good)) if len(good) else math.nan


def touched(clip: float, norms: NDArray[np.float64]) -> float:
    """Return the share of steps on which a clip would have acted, counting non-finite norms."""
    return float(np.mean(~(norms <= clip))) if clip > 0 and len(norms) else 0.0


def advise(norms: NDArray[np.float64], clip: float, optimizer: str, betas: tuple[float, float]) -> ClipAdvice | None:
    """Return advice from the newest finite norms, or None if there are too few. `clip` is the one in force, 0 if off.

    The value is the largest that keeps the kick of a spike under half a step, but not below the 99th percentile if the
    norms have a short tail: there it would only be a hidden, temporary cut of the learning rate.
    """
    good = norms[np.isfinite(norms) & (norms > 0)][-LOOK_BACK:]
    if len(good) < LEAST:
        return None
    median, p99 = float(np.median(good)), float(np.percentile(good, 99))
    most = min(largest_harmless(betas), 10.0) if specs.optimizer(optimizer).bounded else PLAIN
    value = most * median
    if p99 < 3 * median:
        value = max(value, p99)
    value = float(f"{value:.2g}")
    return ClipAdvice(value, float(f"{TIGHT * median:.2g}"), max(value, float(f"{most * median:.2g}")), median,
                      touched(value, good), _sentence(good, clip, value, median, optimizer))


def _sentence(norms: NDArray[np.float64], clip: float, value: float, median: float, optimizer: str) -> str:
    suggestion = (f"{number(value, 2)} is {number(value / median, 2)} medians and would have cut "
                  f"{percent(touched(value, norms))} of the last {len(norms):,} steps")
    if clip <= 0:
        return f"no clip: the first spike goes through as it is. {suggestion}"
    share, times = touched(clip, norms), clip / median
    if 0.9 <= clip / value <= 1.1:
        return (f"clip {number(clip)} is {number(times, 2)} medians, which is the advice, and cut {percent(share)} of "
                f"the last {len(norms):,} steps")
    if share > ALWAYS and specs.optimizer(optimizer).bounded:
        return (f"clip {number(clip)} acts on every step, so {optimizer} divides it out again: a hidden, temporary cut "
                f"of the learning rate. {suggestion}")
    if share == 0 and clip > 2 * value:
        return (f"clip {number(clip)} is {number(times, 2)} medians, too high to matter, and never acts: the largest "
                f"norm was {number(float(norms.max()))}. {suggestion}")
    return f"clip {number(clip)} is {number(times, 2)} medians and cut {percent(share)}. {suggestion}"
