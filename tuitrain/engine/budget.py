"""Minutes of training, turned into steps again and again as the machine's speed turns out. Knows no engine.

The schedule of the learning rate goes by steps, so a run in minutes needs a last step. Each estimate takes the speed
since the one before: a machine that was busy at the start says nothing about the rest.
"""

from collections.abc import Callable
from typing import Final

CORRECTIONS: Final = (0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.97, 0.985)
"""Shares of the minutes at which the last step is estimated anew; in between all is scheduled in steps."""
MOVED: Final = 0.01
"""Share of the last step by which an estimate must differ to count."""
LEAST: Final = 0.98
"""Share of the minutes before which no last step ends the run: it came too early, and is moved."""
MOST: Final = 1.02
"""Share of the minutes at which the run ends whatever step it is at: it became slow after the last estimate."""


class Budget:
    """Seconds of training, pauses not counted. `clock` is in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._left = [share * seconds for share in CORRECTIONS]
        self._began = self._looked = clock()
        self._step = 0

    def begin(self, step: int) -> None:
        """Start the clock at a step."""
        self._began = self._looked = self._clock()
        self._step = step

    def waited(self, seconds: float) -> None:
        """A pause is not training."""
        self._began += seconds
        self._looked += seconds

    @property
    def spent(self) -> bool:
        """Whether the minutes are over, whatever the steps say."""
        return self._clock() - self._began >= MOST * self._seconds

    def last_step(self, step: int, planned: int) -> int:
        """The last step as it looks at `step`: `planned`, or another one if it is time to look and it moved."""
        now = self._clock()
        gone = now - self._began
        too_early = step >= planned and gone < LEAST * self._seconds
        if not too_early and not (self._left and gone >= self._left[0]):
            return planned
        while self._left and gone >= self._left[0]:
            self._left.pop(0)
        if step <= self._step or now <= self._looked:
            return max(planned, step + 1) if too_early else planned
        speed = (step - self._step) / (now - self._looked)
        self._looked, self._step = now, step
        estimate = step + max(1, round((self._seconds - gone) * speed))
        return estimate if too_early or abs(estimate - planned) > MOVED * planned else planned
