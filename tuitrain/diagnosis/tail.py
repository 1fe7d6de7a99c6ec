"""Early signs in the gradients: single spikes, a heavier tail, gradients far above Adam's running average."""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from tuitrain import troubles
from tuitrain.diagnosis.detector import QUIET, Finding
from tuitrain.telemetry.series import Ring
from tuitrain.telemetry.units import number, percent

SPIKE = 20.0
YOUNG = 3.0
"""A spike must also exceed this many medians of the run's first steps: once a text is memorised most norms are tiny."""
SPIKES_APART = 500
TAIL, FATTER, TWICE = 1.4, 1.1, 1.5
"""Thresholds of p99 / median for a warning: absolute, relative to the young run, and relative to the previous warning.
1.3 is usual; natural collapses passed 1.4 one to four thousand steps before the first spike."""
TAILS = (250, 1000, 4000)
LOOK_EVERY = 50
SURPRISE, SURPRISED = 3.0, 0.4
"""RMS of g / sqrt(v) that counts as a surprise to Adam, and the share of such measurements that raises a warning: steps
ten times too long give .6, and with a memory of a hundred steps (b2 = .99) healthy runs reach .2."""


class Tail:
    """Compares gradient norms with their own median: single spikes, and a tail that grows long before the loss does."""

    def __init__(self, warmup: int = 0, own: bool = True) -> None:
        self._danger = ("the text still reads well, but the recurrence can explode" if own else
                        "the loss is as before, but single gradients may explode")
        self.norms = Ring(TAILS[-1])
        self.quiet = max(QUIET, warmup) + TAILS[0]
        self.median = math.nan
        self.healthy = math.nan
        """p99 / median while the run was young, with which later tails are compared."""
        self._spiked = -SPIKES_APART
        self.spikes: deque[int] = deque(maxlen=200)
        self._reported = self._young = 0.0
        self._new: list[float] = []

    def take(self, step: int, norm: float) -> Finding | None:
        """Add the norm of one step, before clipping; return a warning if one is due."""
        if not math.isfinite(norm):
            return None
        spike = None
        large = norm > SPIKE * self.median and norm > YOUNG * self._young
        if step > self.quiet and large and len(self.norms) >= TAILS[0]:
            self.spikes.append(step)
            if step - self._spiked >= SPIKES_APART:
                spike = Finding(troubles.SPIKE, step, step, norm / self.median, SPIKE,
                                f"one gradient norm of {number(norm)}, {number(norm / self.median, 2)} times the usual "
                                f"{number(self.median)}: {self._danger}")
            self._spiked = step
        self._new.append(norm)
        if len(self._new) < LOOK_EVERY:
            return spike
        self.norms.extend(np.array(self._new))
        self._new.clear()
        self.median = float(np.median(self.norms.last(TAILS[1])))
        if step <= self.quiet + TAILS[1]:
            self._young = self.median
        return spike or self._fat(step)

    def ratio(self, window: int) -> float:
        """Return p99 / median of the last `window` norms."""
        return tail_ratio(self.norms.last(window))

    def share(self, window: int, medians: float = 10.0) -> float:
        """Return the share of the last `window` norms above that many medians."""
        norms = self.norms.last(window)
        return float(np.mean(norms > medians * np.median(norms))) if len(norms) else 0.0

    def _fat(self, step: int) -> Finding | None:
        if step < self.quiet + TAILS[1] + TAILS[-1] or len(self.norms) < TAILS[-1]:
            return None
        ratio = self.ratio(TAILS[-1])
        if math.isnan(self.healthy):
            self.healthy = self.ratio(TAILS[-1] * 3 // 4)  # before that the model had learned nothing yet
        threshold = max(TAIL, FATTER * self.healthy, TWICE * self._reported)
        if ratio < threshold:
            return None
        self._reported = ratio
        return Finding(troubles.TAIL, step, step - TAILS[-1] // 2, ratio, threshold,
                       f"large gradients grow more frequent: one in a hundred is {number(ratio, 2)} times the median "
                       f"now, it was {number(self.healthy, 2)}")


class Surprise:
    """Follows the RMS of g / sqrt(v) of the recurrent matrices: gradients far above Adam's running average."""

    def __init__(self) -> None:
        self.readings: deque[float] = deque(maxlen=20)
        self._reported = False

    def take(self, step: int, value: float) -> Finding | None:
        """Add the largest value of a measurement; return a warning if one is due."""
        if not math.isfinite(value):
            return None
        self.readings.append(value)
        share = self.share
        if len(self.readings) < 10 or share < SURPRISED:
            self._reported = self._reported and share > 0
            return None
        if self._reported:
            return None
        self._reported = True
        return Finding(troubles.RMS, step, step, share, SURPRISED,
                       f"gradients surprise Adam: {percent(share)} of them are above {number(SURPRISE)} times "
                       "their recent average")

    @property
    def share(self) -> float:
        """Share of the last measurements that were a surprise."""
        return sum(v > SURPRISE for v in self.readings) / len(self.readings) if self.readings else 0.0


def tail_ratio(norms: NDArray[np.float64]) -> float:
    """Return p99 / median of norms; nan if there are none."""
    if not len(norms):
        return math.nan
    return float(np.percentile(norms, 99) / max(float(np.median(norms)), 1e-30))
