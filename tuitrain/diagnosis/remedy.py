"""The remedy for a trouble: how far back, at which rate, with which clip. Shared by guard, key and dialog. Pure.

It goes back to a healthy point before the first spike of the trouble, with a quarter of the smaller rate and the
advised clip: neither change alone held a run that had begun to explode (tests/diagnosis). If the text changed, that
stretch is skipped instead; if nothing is learned, there is no remedy, as smaller steps would not help.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tuitrain import troubles
from tuitrain.telemetry.lineage import Place
from tuitrain.telemetry.story import Point

BEFORE = 100
"""Steps before the onset at which a restore point counts as old enough."""
LR_FACTORS = (0.25, 0.1, 0.1)
"""Factors of the rate at the first, second and third attempt."""
EARLIER = 4
"""Each further attempt goes this many times as far back before the onset."""
SKIPPED = 400
"""Batches from the onset on that are skipped if the text is to blame (PaLM skipped 200 to 500)."""
SPIKES_BACK = 4000
"""Maximum steps between a spike and the onset that it belongs to."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A rollback to a point at or before step `to`, then knob changes; None leaves a knob unchanged."""

    onset: int
    to: int
    lr_factor: float | None = None
    clip: float | None = None
    past: int = 0
    """The step up to which the text is skipped, 0 if it is not to blame."""

    def lr(self, there: float, now: float) -> float:
        """Return the new rate, from the rate at the point (`there`) and the present one."""
        return now if self.lr_factor is None else min(there, now) * self.lr_factor

    def skipped(self, step: int) -> int:
        """Return the number of batches to skip when continuing from a step."""
        return max(0, self.past - step)

    def point(self, points: Iterable[Point]) -> Point | None:
        """Return the best of the lineage's restore points, None if there is none.

        That is the newest healthy one at or before step `to`, or failing that before the onset.
        """
        healthy = [point for point in points if point.healthy and point.step < self.onset]
        old = [point for point in healthy if point.step <= self.to]
        return max(old or healthy, key=lambda point: (point.step, point.branch, not point.on_disk), default=None)


def remedy(cause: str, place: Place, spikes: Iterable[Place], holds: Callable[[int, int], bool], *, clip: float,
           advised: tuple[float, float] | None, tried: int = 0) -> Remedy | None:
    """Return the remedy for a trouble that began at `place`, None if a rollback does not help.

    `cause` is empty while unknown. Only those `spikes` count that the lineage `holds`. `clip` is the one in force, 0
    if off; `advised` is the better value and the lower end of the useful range, None if unknown; `tried` is the number
    of earlier attempts.
    """
    known = troubles.cause(cause)
    if known.too_small:
        return None
    began = place[1]
    onset = min([began, *(step for branch, step in spikes
                          if holds(branch, step) and began - SPIKES_BACK <= step < began)])
    to = max(0, onset - BEFORE * EARLIER**tried)
    if known.of_text:
        return Remedy(onset, to, past=began + SKIPPED)
    factor = LR_FACTORS[min(tried, len(LR_FACTORS) - 1)]
    return Remedy(onset, to, factor, _clip(clip, advised))


def _clip(clip: float, advised: tuple[float, float] | None) -> float | None:
    if advised is None:
        return None
    value, low = advised
    tight = low <= clip <= value  # already useful, and raising it would only make steps larger
    return None if tight else value
