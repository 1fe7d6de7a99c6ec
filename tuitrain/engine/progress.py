"""The progress of a run, which is part of every snapshot."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.knobs import Knobs

GOOD_LOSS = (0.1, 0.08)
"""How far a healthy smoothed loss may lie above the best so far: nats, and share of that best; the larger counts."""
SPREADS = 0.5
"""For a loss in another unit than nats, in the place of the former: mean distances of a single loss from the mean. The
mean of 50 losses strays by a fifth of that."""


@dataclass(slots=True)
class Progress:
    """Step, branch and running losses; `lineage` lists (branch, last step) of the branches before this one."""

    step: int = 0
    branch: int = 0
    lineage: list[list[int]] = field(default_factory=list)
    smooth_loss: float = float("inf")
    """Mean training loss of about the last 50 steps, nats per character."""
    best_smooth: float = float("inf")
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    not_finite: int = 0
    """Length of the current streak of non-finite steps."""
    in_nats: bool = True
    """Whether the losses are in nats; the scale of others is learned from their spread."""
    spread: float = 0.0
    """Mean distance of about the last 50 losses from `smooth_loss`."""
    best_spread: float = 0.0
    """The spread when `best_smooth` was reached."""

    @property
    def healthy(self) -> bool:
        """Whether training has not broken: the loss is finite and close to the best of this lineage so far."""
        if self.not_finite:
            return False
        # Compared with the best so far, not of all time: otherwise a fast-improving run would have only bad points.
        least = GOOD_LOSS[0] if self.in_nats else SPREADS * self.best_spread
        most = self.best_smooth + max(least, GOOD_LOSS[1] * abs(self.best_smooth))
        if not math.isfinite(self.best_smooth):
            return True  # no loss is known yet, as at the first step of a watched loop
        return math.isfinite(self.smooth_loss) and self.smooth_loss <= most

    def absorb(self, losses: NDArray[np.float32], finite: NDArray[np.bool_]) -> None:
        """Fold the losses of the newest steps, in order, into the running mean; those of steps that are not `finite`
        only count as such."""
        for good in finite.tolist():
            self.not_finite = 0 if good else self.not_finite + 1
        for loss in losses[finite].tolist():
            old = self.smooth_loss
            self.smooth_loss = loss if old == float("inf") else old + (loss - old) / 50
            if not self.in_nats:
                self.spread += (abs(loss - self.smooth_loss) - self.spread) / 50
        if self.step >= 50 and self.smooth_loss < self.best_smooth:
            self.best_smooth, self.best_spread = self.smooth_loss, self.spread

    @property
    def parent(self) -> int | None:
        """The branch that this one continues; None for the first."""
        return self.lineage[-1][0] if self.lineage else None


def progress_of(values: Mapping[str, Any]) -> Progress:
    """Return the progress among the values of a snapshot; floats may be strings after a trip through JSON."""
    found = dict(values["progress"])
    found["lineage"] = [list(map(int, part)) for part in found["lineage"]]
    for name in ("smooth_loss", "best_smooth", "epoch_loss", "spread", "best_spread"):
        found[name] = float(found.get(name, 0.0))
    return Progress(**found)


def knobs_of(values: Mapping[str, Any]) -> Knobs:
    """Return the knobs among the values of a snapshot."""
    found = dict(values["knobs"])
    return replace(Knobs(**found), temperature=tuple(found["temperature"]))


def on_lineage(progress: Progress, branch: int, step: int) -> bool:
    """Whether (branch, step) is in the past of the current step."""
    if branch == progress.branch:
        return step <= progress.step
    return any(branch == b and step <= last for b, last in progress.lineage)
