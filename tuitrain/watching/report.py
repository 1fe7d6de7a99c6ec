"""Turns the numbers of steps into events, a few times a second. Knows nothing of schedules or commands."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from tuitrain.engine.reporter import PERIOD, floats
from tuitrain.engine.streak import Streak
from tuitrain.protocol.events import Event, Logged, StepsDone, StepSkipped
from tuitrain.troubles import NOT_FINITE
from tuitrain.watching.numbers import Numbers, Window
from tuitrain.watching.subject import Subject

MAX_STEPS = 512
"""Largest number of steps between two reports."""
FULL_RATE = 16.0
"""Steps per second up to which every number of every step is reported and every group is measured. Above it, all
numbers but loss and norm are thinned."""


JUST_BELOW = 0.999
"""Share of its threshold that a gradient has at least after it was clipped, within rounding."""


class Reporter:
    """Reports what `numbers` holds. Group norms are measured at each step that is divisible by `every`."""

    def __init__(self, subject: Subject, numbers: Numbers, groups: list[str],
                 clock: Callable[[], float] = time.monotonic,
                 sees_after: Callable[[], bool] = lambda: False) -> None:
        self._sees_after = sees_after
        self._subject, self._numbers, self._groups, self._clock = subject, numbers, groups, clock
        self._since = self._asked = clock()
        self.every = 1
        self.epoch = 0.0
        self._streak = Streak()

    def moved(self) -> None:
        """Start afresh after the run was restored to another step."""
        self._numbers.forget()
        self._since = self._asked = self._clock()
        self._streak.forget()

    def waited(self) -> None:
        """Leave the time since the last report out of the training time."""
        self._since = self._asked = self._clock()

    @property
    def due(self) -> bool:
        """Whether it is time for a report."""
        return self._clock() - self._asked >= PERIOD or self._numbers.waiting >= MAX_STEPS

    def flush(self, wait: bool = True) -> Iterator[Event]:
        """Yield the events of all steps not reported yet; without `wait` only of those already fetched."""
        self._asked = self._clock()
        for window in self._numbers.drain(self._clock, wait=wait):
            seconds, self._since = max(0.0, window.asked - self._since), window.asked
            if len(window.rows):
                self._subject.absorb(window.rows[:, 0], window.rows[:, 1])
                yield self._steps_done(window, seconds)
                yield from self._not_finite(window)
                self._thin(len(window.rows), seconds)
            for name, points in window.curves.items():
                yield Logged(branch=self._subject.progress.branch, name=name, steps=tuple(step for step, _ in points),
                             values=floats(np.array([v for _, v in points], dtype=np.float32)))

    def _steps_done(self, window: Window, seconds: float) -> StepsDone:
        rows, first = window.rows, window.first
        # `every` as it was during these steps: at the others the groups were not measured.
        every = self.every
        where = np.arange((-(first - 1)) % every, len(rows), every)
        clips = np.array(window.clips, dtype=np.float32)
        unknown = np.full(len(self._groups), np.nan, dtype=np.float32)
        groups = np.array([window.groups.get(first + int(i), unknown) for i in where],
                          dtype=np.float32).reshape(-1, len(self._groups))
        norms, thin = rows[where, 1], clips[where]
        acted = norms > thin * (JUST_BELOW if self._sees_after() else 1.0)
        return StepsDone(
            branch=self._subject.progress.branch, first_step=first, epoch=round(self.epoch, 4),
            loss=floats(rows[:, 0]), grad_norm=floats(rows[:, 1]), every=every,
            clipped=tuple(((thin > 0) & acted).astype(int).tolist()), skipped=(0,) * len(where),
            lr=floats(rows[where, 2]), clip=floats(thin),
            norms={name: floats(groups[:, i]) for i, name in enumerate(self._groups)} if window.groups else {},
            seconds=round(seconds, 6))

    def _thin(self, steps: int, seconds: float) -> None:
        every = 1
        while seconds and steps / seconds / every > FULL_RATE:
            every *= 2
        self.every = every

    def _not_finite(self, window: Window) -> Iterator[StepSkipped]:
        """Report steps with a loss or norm that is not finite. The script's optimizer made them all the same."""
        loss, norm = window.rows[:, 0], window.rows[:, 1]
        bad = ~np.isfinite(loss) | np.isinf(norm) | (np.isnan(norm) & np.array(window.measured, dtype=bool))
        found = self._streak.take(window.rows[:, :2], bad)
        if found is None:
            return
        onset = window.first + int(found.places[0])
        value, words = found.describe(window.rows, int(found.places[0]), onset)
        yield StepSkipped(
            branch=self._subject.progress.branch, step=window.first + int(found.places[-1]), onset=onset,
            rule=NOT_FINITE.name, value=value, threshold=float("inf"), count=len(found.places), streak=found.streak,
            kept=False, sentence=f"{words}; the optimizer made the step all the same")
