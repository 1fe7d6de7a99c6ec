"""Converts a budget of minutes into a last step, re-estimated as the speed becomes known. Knows no engine.

The learning rate is scheduled in steps, so a run given in minutes needs a last step. Each estimate uses the speed
since the previous one: a machine that was busy at the start says nothing about the rest.
"""

from collections.abc import Callable
from typing import Final

CORRECTIONS: Final = (0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.97, 0.985)
"""Shares of the minutes at which the last step is re-estimated; between them the schedule is fixed."""
MOVED: Final = 0.01
"""Relative change of the last step below which an estimate is ignored."""
LEAST: Final = 0.98
"""Share of the minutes before which reaching the last step does not end the run: it came too early and is moved."""
MOST: Final = 1.02
"""Share of the minutes at which the run ends at any step: it became slower after the last estimate."""


class Budget:
    """A budget of training seconds, not counting pauses. `clock` is in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._left = [share * seconds for share in CORRECTIONS]
        self._began = self._estimated = clock()
        self._step = 0

    def begin(self, step: int) -> None:
        """Start the clock at a step."""
        self._began = self._estimated = self._clock()
        self._step = step

    def waited(self, seconds: float) -> None:
        """Exclude a pause of so many seconds from the training time."""
        self._began += seconds
        self._estimated += seconds

    @property
    def spent(self) -> bool:
        """Whether the time is over, at whatever step."""
        return self._clock() - self._began >= MOST * self._seconds

    def last_step(self, step: int, planned: int) -> int:
        """Return the last step as estimated at `step`: `planned`, unless a correction is due and differs from it."""
        now = self._clock()
        elapsed = now - self._began
        too_early = step >= planned and elapsed < LEAST * self._seconds
        if not too_early and not (self._left and elapsed >= self._left[0]):
            return planned
        while self._left and elapsed >= self._left[0]:
            self._left.pop(0)
        if step <= self._step or now <= self._estimated:
            return max(planned, step + 1) if too_early else planned
        speed = (step - self._step) / (now - self._estimated)
        self._estimated, self._step = now, step
        estimate = step + max(1, round((self._seconds - elapsed) * speed))
        return estimate if too_early or abs(estimate - planned) > MOVED * planned else planned
