"""What the race of threads promised beside what the run's own steps take. Knows nothing of races or caches.

A race is a few steps in the first seconds of a run; the steps of the next minute know better.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

WINDOW, LEAST = 30.0, 50
"""Seconds of steps, and their number, that are compared at a time."""
UNDISTURBED = 0.8
"""Share of the wall time that each thread computes on a machine that has nothing else to do; below, what was timed is
the load of others."""
FAR: Final = 1.4
"""The factor from which on steps do not take what was promised; a run's own do a tenth more than those of the race."""


class Promise:
    """`seconds`: what a step was to take; `broken` is called once, when it turns out to take something else.

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
        """What is to be said when the steps of a while are far from what was promised, once; else nothing."""
        if self._over or self._seconds < WINDOW or self._steps < LEAST:
            return ""
        took, share = self._seconds / self._steps, self._computed / self._seconds
        self._steps, self._seconds, self._computed = 0, 0.0, 0.0
        # On a busy machine it is the others' load that was timed, and no race would do better.
        if share < UNDISTURBED or 1 / FAR < took / self._promised < FAR:
            return ""
        self._over = True
        self._broken()
        return (f"a step takes {took:.2g} s, {self._promised:.2g} s were timed before the run: the next start times "
                "threads and precision anew")
