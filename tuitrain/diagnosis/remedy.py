"""What answers a trouble: how far back, at which rate, under which clip. The one rule for guard, key and dialog. Pure.

Before the first spike that belongs to it, from a point that was well itself, at a quarter of the smaller rate, under
the advised clip: neither alone held a run that had begun to explode (tests/diagnosis). A text that changed is left out
instead, and a model that learns nothing is not helped by smaller steps.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tuitrain.telemetry.lineage import Place
from tuitrain.telemetry.story import Point

BEFORE = 100
"""Steps before the onset at which a restore point counts as healthy."""
LR_FACTORS = (0.25, 0.1, 0.1)
"""Of the rate, at the first, second and third try."""
EARLIER = 4
"""Each further try goes so many times as far back before the onset."""
SKIPPED = 400
"""Batches from the onset on that are left out where the text is to blame (PaLM left out 200 to 500)."""
SPIKES_BACK = 4000
"""A spike so many steps before the onset belongs to it."""
TOO_SMALL = ("plateau", "vanishing")
"""Causes that a rollback to smaller steps makes worse."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """Back to a point at or before step `to`, then the knobs; None leaves a knob as it is."""

    onset: int
    to: int
    lr_factor: float | None = None
    clip: float | None = None
    past: int = 0
    """The step up to which the text is left out, 0 if it is not to blame."""

    def lr(self, there: float, now: float) -> float:
        """The new rate, from that of the point and the present one."""
        return now if self.lr_factor is None else min(there, now) * self.lr_factor

    def skipped(self, step: int) -> int:
        """Batches to leave out when going on from a step."""
        return max(0, self.past - step)

    def point(self, points: Iterable[Point]) -> Point | None:
        """The best of the restore points of the line that led here: the newest that was well, old enough before the
        onset, or at least before it; None if there is none."""
        well = [point for point in points if point.healthy and point.step < self.onset]
        old = [point for point in well if point.step <= self.to]
        return max(old or well, key=lambda point: (point.step, point.branch, not point.on_disk), default=None)


def remedy(cause: str, place: Place, spikes: Iterable[Place], holds: Callable[[int, int], bool], *, clip: float,
           advised: tuple[float, float] | None, tried: int = 0) -> Remedy | None:
    """The answer to a trouble that began at `place`, None if going back is none. `cause` is empty while unknown.

    Of the `spikes` those count that the line `holds` that led here. `clip` is the one in force, 0 if off; `advised` the
    better value and the lower end of the useful range, None if unknown; `tried` says how often this was done already.
    """
    if cause in TOO_SMALL:
        return None
    began = place[1]
    onset = min([began, *(step for branch, step in spikes
                          if holds(branch, step) and began - SPIKES_BACK <= step < began)])
    to = max(0, onset - BEFORE * EARLIER**tried)
    if cause == "bad_data":
        return Remedy(onset, to, past=began + SKIPPED)
    factor = LR_FACTORS[min(tried, len(LR_FACTORS) - 1)]
    return Remedy(onset, to, factor, _clip(clip, advised))


def _clip(clip: float, advised: tuple[float, float] | None) -> float | None:
    if advised is None:
        return None
    value, low = advised
    tight = low <= clip <= value  # it is of use already, and raising it would only make steps larger
    return None if tight else value
