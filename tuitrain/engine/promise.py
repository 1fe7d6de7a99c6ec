"""Compares the step time measured in the race of threads with that of the run itself. Knows nothing of races or caches.

A race times a few steps in the first seconds of a run; the steps of the next minute are a better measurement.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

WINDOW, LEAST = 30.0, 50
"""Minimum seconds and number of steps per comparison."""
UNDISTURBED = 0.8
"""Share of the wall time that a thread computes on an idle machine; below it the step time is due to other load."""
FAR: Final = 1.4
"""The factor from which on the step time differs; a run's own steps take a tenth longer than those of the race."""


class Promise:
    """A predicted step time in `seconds`; `broken` is called once if the measured time turns out to differ.

    `clock` gives wall time, `used` the processor time of the calling thread, both in seconds.
    """

    def __init__(self, seconds: float, broken: Callable[[], None], clock: Callable[[], float] = time.perf_counter,
                 used: Callable[[], float] = time.thread_time) -> None:
        self._promised, self._broken, self._clock, self._used = seconds, broken, clock, used
        self._steps, self._seconds, self._computed = 0, 0.0, 0.0
        self._over = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time the step inside."""
        began, used = self._clock(), self._used()
        yield
        self._steps += 1
        self._seconds += self._clock() - began
        self._computed += self._used() - used

    def kept(self) -> str:
        """Return a message, once, if the steps take far longer or shorter than predicted; else an empty string."""
        if self._over or self._seconds < WINDOW or self._steps < LEAST:
            return ""
        took, share = self._seconds / self._steps, self._computed / self._seconds
        self._steps, self._seconds, self._computed = 0, 0.0, 0.0
        # On a busy machine the time is due to other load, and another race would do no better.
        if share < UNDISTURBED or 1 / FAR < took / self._promised < FAR:
            return ""
        self._over = True
        self._broken()
        return (f"a step takes {took:.2g} s, but {self._promised:.2g} s were measured before the run: threads and "
                "precision will be timed again at the next start")
