"""Rules over single numbers that detect broken training or early signs of it, in a few microseconds a step.

Thresholds are relative to the run's own healthy past. Knows no events and no causes. The rules: level (T1), validation
(T2), no_progress, outlier (W2); in tail.py spike (W9), tail (W10), rms (W3).
"""

import itertools
import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuitrain import troubles
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.telemetry.units import BITS, loss_text, loss_words

QUIET = 200
"""Steps at the start of a run in which nothing is judged; a longer warm-up takes its place."""
WINDOW, LAG, RECENT = 200, 20, 50
Z_TRIP = 4.0
MARGIN = (0.10, 0.08)
"""How far the mean of the last losses must exceed the best mean: nats, and share of the best; the larger counts."""
NOISY = 6.0
"""The margin is at least this many standard deviations of such means, because their minimum is partly luck."""
PASSAGE, LONGEST = 20_000, 500
"""Minimum characters of carried streams per mean, and its maximum steps: fewer characters are a single passage of the
text, and passages differ."""
TURNED = (0.3, 0.2)
"""The MARGIN after steps were made larger, for `SETTLING` steps and after ignoring the first `REST`."""
REST, SETTLING = 50, 400
OUTLIER_Z, OUTLIER_NATS, FEW = 8.0, 1.0, 100
STUCK_AFTER, STUCK_FOR, STUCK_GAIN = 1000, 500, 0.02
VALIDATION = 0.10


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fired, at `step`; the trouble began at `onset`."""

    rule: troubles.Rule
    step: int
    onset: int
    value: float
    threshold: float
    sentence: str


def sized(nats: float, loss: float, unit: LossUnit) -> float:
    """Return `nats`; for a loss in a unit of its own that share of `loss`, as its scale is unknown."""
    return nats if unit == BITS else nats * abs(loss)

BETTER, BESTS = 0.01, 400
"""How much lower a best must be to be remembered with its step, and how many are."""


class Level:
    """Compares the training loss with its own best: T1, its variant after larger steps, outliers, and no progress."""

    def __init__(self, warmup: int = 0, chance: float = math.inf, targets: int = 10**6,
                 carried: bool = True, unit: LossUnit = BITS) -> None:
        self._unit = unit
        self.quiet = max(QUIET, warmup)
        self._stuck_after = self.quiet + STUCK_AFTER
        self._chance = chance
        """Nats per character of letter frequencies alone; a model that stays there has learned nothing."""
        self.losses: deque[float] = deque(maxlen=WINDOW + 4 * RECENT)
        self._over = min(LONGEST, max(RECENT, PASSAGE // targets)) if carried else RECENT
        """Number of losses in a mean."""
        self._few = targets < FEW
        """Whether a batch has too few targets for a single high loss to be unusual."""
        self._blocks: deque[float] = deque(maxlen=60)
        """Means of non-overlapping blocks."""
        self._sum: deque[float] = deque(maxlen=self._over)
        self._total = 0.0
        self._noise = 0.0
        self.best = math.inf
        self._bests: deque[tuple[int, float]] = deque(maxlen=BESTS)
        """(step, best so far): a point of long ago is not to be judged by what came after it."""
        self._best_at = 0
        self._spread: deque[float] = deque(maxlen=50)
        self._seen = 0
        self._turn: int | None = None
        self._seam = 0
        self._tripped = False
        self._recovering = 0
        self._stuck = False

    @property
    def mean(self) -> float:
        """Mean of the last finite losses: 50, or as many as a passage takes."""
        return self._total / len(self._sum) if self._sum else math.nan

    @property
    def broken(self) -> bool:
        """Whether the rule has fired and the loss has not recovered."""
        return self._tripped

    def turned(self, step: int) -> None:
        """Note that steps were made larger: judge by the wider margin after a rest; window and best stay."""
        self._turn = step

    def seam(self, step: int) -> None:
        """Note that an epoch begins at a step, and with it another part of the text."""
        self._seam = step

    def moved(self, step: int) -> None:
        """Go back to a step: clear the losses, take up the best of then, discard what was noted after it."""
        while self._bests and self._bests[-1][0] > step:
            self._bests.pop()
        self.best = self._bests[-1][1] if self._bests else math.inf
        if self._turn is not None and self._turn >= step:
            self._turn = None
        self._seam, self._best_at = min(self._seam, step), min(self._best_at, step)
        self.losses.clear()
        self._sum.clear()
        self._total, self._seen, self._tripped, self._recovering = 0.0, 0, False, 0

    def take(self, step: int, loss: float) -> Finding | None:
        """Add the loss of one step; return a finding if a rule fires."""
        if not math.isfinite(loss):
            return None
        if len(self._sum) == self._over:
            self._total -= self._sum[0]
        self._sum.append(loss)
        self._total += loss
        self.losses.append(loss)
        self._seen += 1
        if self._seen % LAG == 0:
            self._total = math.fsum(self._sum)  # rounding errors must not accumulate over a long run
            self._spread.append(float(np.median(self._last(LAG))))
        if self._seen < self._over:
            return None
        mean = self._total / self._over
        if self._seen % self._over == 0:
            self._blocks.append(mean)
            self._noise = _spread(self._blocks)
        if mean < self.best - STUCK_GAIN:
            self._best_at = step
        if step > self.quiet // 2 and mean < self.best:
            self.best = mean
            if not self._bests or mean < self._bests[-1][1] - BETTER:
                self._bests.append((step, mean))
        if step <= self.quiet:
            return None
        return self._trip(step, mean) or self._outlier(step, loss) or self._no_progress(step, mean)

    def _words(self, loss: float) -> str:
        return loss_words(loss, self._unit, 2)

    def _last(self, count: int) -> NDArray[np.float64]:
        return np.fromiter(itertools.islice(reversed(self.losses), count), float)[::-1]

    def _trip(self, step: int, mean: float) -> Finding | None:
        turn = self._turn
        settling = turn is not None and step - turn <= SETTLING
        least, share = TURNED if settling else MARGIN
        margin = max(sized(least, self.best, self._unit), share * self.best, NOISY * self._noise)
        if self._tripped:
            self._recovering = self._recovering + 1 if mean < self.best + margin / 2 else 0
            self._tripped = self._recovering < RECENT
            return None
        if mean <= self.best + margin:
            return None
        if settling:
            assert turn is not None
            if step - turn < REST:
                return None
            self._tripped = True
            return Finding(troubles.LEVEL, step, turn + 1, mean, self.best + margin,
                           f"the loss rose to {self._words(mean)}, the best was {loss_text(self.best, self._unit, 2)}")
        if step - self._seam < RECENT or self._seen < WINDOW + LAG:
            return None
        past, now = self._last(WINDOW + LAG)[:WINDOW], self._last(LAG)
        middle = float(np.median(past))
        sigma = 1.4826 * float(np.median(np.abs(past - middle)))
        error = max(1.2533 * sigma / math.sqrt(LAG), self._error())
        z = (float(np.median(now)) - middle) / max(error, 1e-6)
        if z <= Z_TRIP:
            return None
        self._tripped = True
        onset = step - len(now) + 1 - LAG + _onset(self._last(2 * LAG), middle + sigma)
        return Finding(troubles.LEVEL, step, onset, mean, self.best + margin,
                       f"the loss left its level at step {onset:,}: {self._words(mean)} over {self._over} steps, "
                       f"the best was {loss_text(self.best, self._unit, 2)}")

    def _error(self) -> float:
        """Return the standard error of a median of 20, from the medians of neighbouring blocks.

        Losses of carried streams are not independent, so the formula for independent ones gives too little.
        """
        return _spread(self._spread)

    def _outlier(self, step: int, loss: float) -> Finding | None:
        if self._few or self._seen < WINDOW or loss < self.mean + sized(OUTLIER_NATS, self.mean, self._unit):
            return None
        past = self._last(WINDOW)[:-1]
        middle = float(np.median(past))
        sigma = max(1.4826 * float(np.median(np.abs(past - middle))), 1e-6)
        z = (loss - middle) / sigma
        if z < OUTLIER_Z or self._tripped or loss < middle + sized(OUTLIER_NATS, middle, self._unit):
            return None
        return Finding(troubles.OUTLIER, step, step, z, OUTLIER_Z,
                       f"one step stands out: {self._words(loss)} where {loss_text(middle, self._unit, 2)} is usual")

    def _no_progress(self, step: int, mean: float) -> Finding | None:
        if self._stuck or step < self._stuck_after or step - self._best_at < STUCK_FOR or self._tripped:
            return None
        if self.best < 0.97 * self._chance:
            return None
        self._stuck = self._tripped = True
        return Finding(troubles.NO_PROGRESS, step, max(1, self._best_at), mean, self._chance,
                       f"nothing was learned in {step - self._best_at:,} steps: {self._words(mean)}, and counting "
                       f"letters alone gives {loss_text(self._chance, self._unit, 2)}")


class Validation:
    """Rules over validation losses: T2 and overfitting."""

    def __init__(self, unit: LossUnit = BITS) -> None:
        self._unit = unit
        self.best, self.best_at = math.inf, 0
        self.losses: deque[tuple[int, float]] = deque(maxlen=12)
        self._tripped = False
        self.train_then: deque[float] = deque(maxlen=12)
        self._best_train = math.inf

    def forget(self) -> None:
        """Discard the losses, which mean nothing while training is broken."""
        self.losses.clear()
        self.train_then.clear()

    def take(self, step: int, loss: float, train: float, best_train: float) -> Finding | None:
        """Add an evaluation with the training loss of that time and its best; return a finding if T2 fires."""
        self.losses.append((step, loss))
        self.train_then.append(train)
        self._best_train = best_train
        if loss < self.best:
            self.best, self.best_at, self._tripped = loss, step, False
        if self._tripped or len(self.losses) < 2 or step <= QUIET:
            return None
        least = sized(VALIDATION, self.best, self._unit)
        high = all(v > self.best + least for _, v in list(self.losses)[-2:])
        if high and train > best_train + sized(VALIDATION, best_train, self._unit):
            self._tripped = True
            onset = self.losses[-2][0]
            return Finding(troubles.VALIDATION, step, onset, loss, self.best + least,
                           f"validation rose to {loss_words(loss, self._unit, 2)} twice in a row, the best was "
                           f"{loss_text(self.best, self._unit, 2)}")
        return None

    def overfits(self) -> bool:
        """Whether four evaluations in a row exceed 1.02 of the best while the training loss fell and is near its best.

        Falling alone is not enough: a loss that recovers from a collapse falls, too.
        """
        recent = list(self.losses)[-4:]
        if len(recent) < 4 or not all(v > 1.02 * self.best and step > self.best_at for step, v in recent):
            return False
        then, now = list(self.train_then)[-4], list(self.train_then)[-1]
        near = self._best_train + sized(VALIDATION, self._best_train, self._unit)
        return now < min(then + sized(0.005, then, self._unit), near)


def _spread(blocks: deque[float]) -> float:
    """Return the standard deviation of block values from differences of neighbours, which ignores a trend; 0 if few."""
    if len(blocks) < 10:
        return 0.0
    return 1.4826 * float(np.median(np.abs(np.diff(np.array(blocks))))) / math.sqrt(2)


def _onset(losses: NDArray[np.float64], level: float) -> int:
    """Return the index where the excess over a level begins: the start of the suffix with the largest sum."""
    sums = np.cumsum((losses - level)[::-1])[::-1]
    return int(np.argmax(sums))
