"""Finds the steps of a window whose loss or gradient norm is not finite, and how many in a row there were."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTITIES = ("loss", "gradient norm")


@dataclass(frozen=True, slots=True)
class Bad:
    """The bad steps of a window: their places in it, and the length of the streak that is open at its end."""

    places: NDArray[np.intp]
    streak: int
    before: NDArray[np.float32]
    """(loss, gradient norm) of the step before the first bad one."""

    def describe(self, numbers: NDArray[np.float32], place: int, step: int) -> tuple[float, str]:
        """Return the number that is not finite at a place, and the beginning of a sentence about it."""
        column = 0 if not np.isfinite(numbers[place, 0]) else 1
        value = float(numbers[place, column])
        return value, (f"the {QUANTITIES[column]} was {value} at step {step:,}, {float(self.before[column]):.3g} "
                       "before it")


class Streak:
    """Remembers across windows the last good step and how long steps have been bad."""

    def __init__(self) -> None:
        self._length = 0
        self._good = np.full(2, np.nan, dtype=np.float32)

    def forget(self) -> None:
        """End the streak, as after a rollback."""
        self._length = 0

    def take(self, numbers: NDArray[np.float32], bad: NDArray[np.bool_]) -> Bad | None:
        """Take the next window, (loss, gradient norm) by step [steps, 2], and which steps are bad [steps].

        Returns None if none is.
        """
        places, before = np.flatnonzero(bad), self._good
        if len(places) and places[0]:
            before = numbers[places[0] - 1].copy()
        if not bad.all():
            self._good = numbers[~bad][-1].copy()
        self._length = self._length + len(bad) if bad.all() else int(np.argmin(bad[::-1]))
        return Bad(places, self._length, before) if len(places) else None
