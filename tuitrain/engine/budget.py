"""Converts a budget of minutes into a last step, re-estimated as the speed becomes known. Knows no engine.

The minutes are those of the whole run: its start counts, and so do the last evaluation and samples, for which training
ends that much earlier.

The learning rate is scheduled in steps, so a run given in minutes needs a last step. Each estimate uses the speed
since the previous one: a machine that was busy at the start says nothing about the rest.
"""

from collections.abc import Callable
from typing import Final

CORRECTIONS: Final = (0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.97, 0.985)
"""Shares of the time after the start at which the last step is re-estimated; between them the schedule is fixed."""
MOVED: Final = 0.01
"""Relative change of the last step below which an estimate is ignored."""
LEAST: Final = 0.98
"""Share of the training time before which reaching the last step does not end it: it came too early and is moved."""
MOST: Final = 1.01
"""Share of the training time at which it ends at any step: steps became slower after the last estimate."""
LATEST: Final = 1.01
"""Share of the minutes at which the work after training is cut short."""
RESERVED: Final = 0.06
"""Largest share of the minutes that is left for the work after training. It may take three times as long beside
training on a busy machine as afterwards, and a run whose estimate was that wrong must not end early."""
SLACK: Final = 1.25
"""Factor by which more time is left for the work after training than earlier work took."""
BESIDE: Final = 0.5
"""Largest share of the minutes that the start counts for."""


class Budget:
    """A budget of seconds since `began`, not counting pauses. `clock` is in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float], began: float | None = None) -> None:
        self._seconds, self._clock = seconds, clock
        self._left = [share * seconds for share in CORRECTIONS]
        self._estimated = clock()
        self._began = self._estimated if began is None else began
        self._start = 0.0
        self._step = 0
        self.closing = 0.0
        """Estimated seconds of the work after training."""

    def begin(self, step: int) -> None:
        """Begin to train at a step."""
        now = self._clock()
        self._began = max(self._began, now - BESIDE * self._seconds)
        self._start = now - self._began
        self._left = [self._start + share * (self._seconds - self._start) for share in CORRECTIONS]
        self._estimated, self._step = now, step

    @property
    def left(self) -> float:
        """Seconds to the end of the minutes; a start counts for at most `BESIDE` of them."""
        return self._seconds - min(self._clock() - self._began, BESIDE * self._seconds)

    def waited(self, seconds: float) -> None:
        """Exclude a pause of so many seconds from the training time."""
        self._began += seconds
        self._estimated += seconds

    @property
    def _training(self) -> float:
        """Seconds from the beginning to the end of training."""
        return self._seconds - min(SLACK * self.closing, RESERVED * self._seconds)

    @property
    def spent(self) -> bool:
        """Whether the time for training is over, at whatever step."""
        return self._clock() - self._began >= MOST * self._training

    @property
    def until(self) -> float:
        """The time of the clock at which the work after training is cut short."""
        return self._began + LATEST * self._seconds

    def last_step(self, step: int, planned: int) -> int:
        """Return the last step as estimated at `step`: `planned`, unless a correction is due and differs from it."""
        now = self._clock()
        elapsed = now - self._began
        too_early = step >= planned and elapsed < LEAST * self._training
        if not too_early and not (self._left and elapsed >= self._left[0]):
            return planned
        while self._left and elapsed >= self._left[0]:
            self._left.pop(0)
        if step <= self._step or now <= self._estimated:
            return max(planned, step + 1) if too_early else planned
        speed = (step - self._step) / (now - self._estimated)
        self._estimated, self._step = now, step
        estimate = step + max(1, round((self._training - elapsed) * speed))
        return estimate if too_early or abs(estimate - planned) > MOVED * planned else planned
