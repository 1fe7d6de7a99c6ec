"""Turns rows of device numbers into events: the only place where they become Python numbers. Knows no schedule."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tuitrain.engine.rows import Window
from tuitrain.engine.streak import Streak
from tuitrain.engine.trainable import Trainable
from tuitrain.protocol.events import Event, Floats, StepsDone, StepSkipped
from tuitrain.troubles import LOSS_SCALE, NOT_FINITE

COLUMNS = ("loss", "grad_norm", "clipped", "skipped", "lr", "clip", "scale")
"""The first columns of a row; the norm of each parameter group follows."""
PERIOD = 0.25
"""Seconds between drains."""
LONGEST = 256
"""Maximum steps between drains: a quarter of the ring."""
FULL_RATE = 50.0
"""Steps per second up to which every number is reported; above it all but loss and norm are thinned."""
SCALE = COLUMNS.index("scale")


class Reporter:
    """Drains the rows of the last steps a few times a second and reports them."""

    def __init__(self, machine: Trainable, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._clock = machine, clock
        self._next_step = machine.progress.step + 1
        self._since = self._asked = clock()
        self._streak = Streak()
        self.longest = LONGEST
        """Maximum steps between drains."""

    def moved(self) -> None:
        """Count from the run's present step after it was moved to another one."""
        self._next_step = self._machine.progress.step + 1
        self._since = self._asked = self._clock()
        self._streak.forget()
        self._machine.instruments.forget()

    def report(self) -> Iterator[Event]:
        """Yield the events of new steps if a drain is due."""
        if self._machine.rows.undrained >= self.longest or self._clock() - self._asked >= PERIOD:
            yield from self.flush(wait=False)

    def flush(self, wait: bool = True) -> Iterator[Event]:
        """Yield the events of all steps that were not reported yet."""
        self._asked = self._clock()
        windows = self._machine.rows.drain(self._clock, wait=wait)
        for window in windows:
            yield from self._events_of(window)
        if windows:
            yield from self._machine.instruments.measured(self._machine.progress.branch, self._next_step - 1)

    def _events_of(self, window: Window) -> Iterator[Event]:
        """Report a window; its steps took from the previous window's request to its own, however late it arrived."""
        rows, first = window.rows, self._next_step
        seconds, self._since = window.asked - self._since, window.asked
        self._next_step += len(rows)
        self._machine.absorb(rows)
        yield self._steps_done(rows, first, seconds)
        yield from self._skipped(rows, first)

    def _steps_done(self, rows: NDArray[np.float32], first: int, seconds: float) -> StepsDone:
        every = 1
        while len(rows) / max(seconds, 1e-9) / every > FULL_RATE:
            every *= 2
        thin = rows[(-(first - 1)) % every :: every]
        column = {name: thin[:, i] for i, name in enumerate(COLUMNS)}
        groups = self._machine.groups
        cursor, late = self._machine.cursor, self._machine.progress.step - (first + len(rows) - 1)
        clip = np.where(np.isinf(column["clip"]), np.float32(0), column["clip"])
        return StepsDone(
            branch=self._machine.progress.branch, first_step=first,
            epoch=round(cursor.epochs_done - late / cursor.batches_per_epoch, 4),
            loss=floats(rows[:, 0]), grad_norm=floats(rows[:, 1]), every=every,
            clipped=tuple(column["clipped"].astype(int).tolist()),
            skipped=tuple(column["skipped"].astype(int).tolist()),
            lr=floats(column["lr"]), clip=floats(clip),
            norms={name: floats(thin[:, len(COLUMNS) + i]) for i, name in enumerate(groups)},
            seconds=round(seconds, 6))

    def _skipped(self, rows: NDArray[np.float32], first: int) -> Iterator[StepSkipped]:
        found = self._streak.take(rows[:, :2], rows[:, 3] > 0)
        if found is None:
            return
        where = found.places
        # Under a loss scale an overflowing gradient is no fault while there is a smaller scale to try.
        faults = where[~np.isfinite(rows[where, 0]) | (rows[where, SCALE] <= 1)]
        place = int(faults[0] if len(faults) else where[0])
        onset = first + int(where[0])
        value, words = found.describe(rows, place, onset)
        many = f"{len(where)} steps" if len(where) > 1 else "1 step"
        if len(faults):
            rule, sentence = NOT_FINITE, f"{words}; {many} kept from the weights"
        else:
            rule, sentence = LOSS_SCALE, (f"the gradient did not fit into fp16 at a loss scale of "
                                          f"{rows[place, SCALE]:,.0f}; {many} kept from the weights, the scale is "
                                          "smaller now")
        yield StepSkipped(
            branch=self._machine.progress.branch, step=first + int(where[-1]), onset=onset, rule=rule.name, value=value,
            threshold=float("inf"), count=len(where), streak=found.streak, sentence=sentence)


def floats(values: NDArray[np.float32]) -> Floats:
    """Return Python floats with the shortest decimals that read back as the same float32: exact, in half the digits."""
    return tuple(float(str(v)) for v in values)
