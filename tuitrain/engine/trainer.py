"""The loop: learn, report, carry out commands. A generator of events that does not know that it is watched."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tuitrain.engine.bounds import MAX_REASON
from tuitrain.engine.budget import Budget
from tuitrain.engine.orders import Orders
from tuitrain.engine.promise import Promise
from tuitrain.engine.reporter import Reporter
from tuitrain.engine.restore_points import RestorePoints
from tuitrain.engine.saves import Saves
from tuitrain.engine.steering import Steering
from tuitrain.engine.trainable import Aside, Trainable
from tuitrain.engine.usage import Usage
from tuitrain.errors import DIVERGED, ERROR, FINISHED, NoRoom, Refused
from tuitrain.intervals import Every, Timer
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import INTERVAL, EngineSaid, EpochEnded, Event, RunEnded, RunResumed, RunStarted
from tuitrain.protocol.facts import CAPTURED
from tuitrain.run.saver import Saver

REPEAT_AFTER = 60.0
"""Seconds after which a lasting shortage of memory is reported again."""


class Trainer:
    """Runs training and everything beside it; `orders.inbox` takes commands from any thread.

    `snapshot_every` is an interval in steps or seconds, `minutes` limits the time from `began`, of
    the clock, to the end of the run (0: no limit).
    """

    def __init__(self, machine: Trainable, asides: Sequence[Aside], saver: Saver, opening: RunStarted | RunResumed, *,
                 snapshot_memory: int, snapshot_every: Every, checkpoint_every: Every, guard_mode: str,
                 minutes: float = 0.0, began: float | None = None, serial: int = 0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.machine, self.asides = machine, asides
        self.reporter = Reporter(machine, clock)
        self.saves = Saves(machine, saver, checkpoint_every, serial, clock)
        self.steering = Steering(machine, RestorePoints(snapshot_memory), saver.place, saver.run,
                                 self.reporter, clock)
        self.orders = Orders(machine, self.steering, self.saves, self.reporter, guard_mode, others=self._ask_asides,
                             clock=clock)
        self.orders.on_continue = self._waited
        self.usage = Usage(machine.device, clock)
        self.promise: Promise | None = None
        self.until = 0
        """A step at which this process ends although the run's own last step is a later one; 0 for none."""
        self.graph_before = ""
        """How steps were computed, `captured` or `eager`, before the checkpoint of a resume; empty where unknown."""
        self.complete: Callable[[EpochEnded], EpochEnded] = lambda epoch: epoch
        """Adds the fields of an EpochEnded that the loop does not know."""
        self._snapshots = Timer(snapshot_every, fresh=not machine.progress.step, clock=clock)
        self._opening = opening
        self._clock = clock
        self._epoch_began = clock()
        self._next_warning = -math.inf
        self._budget = Budget(minutes * 60, clock, began) if minutes else None
        self.saves.extra = lambda: {"branches": self.steering.branches, "guard_mode": self.orders.guard_mode}

    def introduce(self, **facts: Any) -> None:
        """Add facts to the opening event."""
        self._opening = replace(self._opening, facts={**self._opening.facts, **facts})

    def run(self) -> Iterator[Event]:
        """Train to the end and yield every event as it happens."""
        self.machine.start_training_thread()
        yield from self._open()
        yield from self._begin()
        yield from self.orders.obey()  # also of a run at its last step, which an arm of a race may take back
        while not self._over():
            yield from self.orders.obey()
            if self.orders.paused:
                yield from self._while_paused()
            elif not self._over():
                yield from self._learn()
                yield from self._after_step()
        yield from self._finish()

    def _learn(self) -> Iterator[Event]:
        if self.promise is None:
            self.machine.learn()
            return
        with self.promise.step():
            self.machine.learn()
        if message := self.promise.kept():
            yield EngineSaid(text=message)

    def _open(self) -> Iterator[Event]:
        """Yield the opening event, which says how steps will run, even if capturing a graph fails."""
        try:
            self.machine.capture()
        except Exception:
            yield self._opening
            raise
        self.introduce(graph=self.machine.graph)
        self._compare_ways()
        if self._budget is not None:
            self.introduce(seconds=round(self._budget.left, 3))
        yield self._opening
        if self.machine.graph_missing:
            reason = f"--graph on: {self.machine.graph}"[:MAX_REASON]
            self.orders.stop = c.Stop(id="", by="", reason=reason, exit_code=ERROR)

    def _compare_ways(self) -> None:
        """Note in each checkpoint whether steps are a CUDA graph, and whether they were in the one resumed from."""
        way = CAPTURED if self.machine.graph == CAPTURED else "eager"
        self.saves.environment["graph"] = way
        if isinstance(self._opening, RunResumed) and self.graph_before not in ("", way):
            why = f"steps were {self.graph_before}, are {way}"
            self._opening = replace(self._opening, exact=False,
                                    why_not="; ".join(filter(None, (self._opening.why_not, why))))

    def _begin(self) -> Iterator[Event]:
        for remark in self.machine.remarks:
            yield EngineSaid(text=remark, level="warning")
        if self._over():
            yield EngineSaid(text="this is the last step of the run; `--steps N` sets a later one, `--steps 0` none")
        yield from self._unless_no_room(self.steering.snapshot("start"))
        self._epoch_began = self._clock()
        if self._budget is not None:
            self._budget.begin(self.machine.progress.step)
        self.reporter.moved()

    def _unless_no_room(self, work: Iterator[Event]) -> Iterator[Event]:
        """Do work that may copy the state; without memory for that, warn and skip it."""
        try:
            yield from work
        except NoRoom as error:
            if self._clock() >= self._next_warning:
                self._next_warning = self._clock() + REPEAT_AFTER
                yield EngineSaid(level="warning", text=(
                    f"{error}; training goes on without restore points, checkpoints, evaluations and samples until "
                    "there is memory again"))

    def _over(self) -> bool:
        step = self.machine.progress.step
        spent = self._budget is not None and not self.orders.paused and self._budget.spent
        return self.orders.stop is not None or spent or any(0 < last <= step
                                                            for last in (self.machine.knobs.steps, self.until))

    def _after_step(self) -> Iterator[Event]:
        yield from self._unless_no_room(self._attend())

    def _attend(self) -> Iterator[Event]:
        machine = self.machine
        epoch = None
        if machine.cursor.index == machine.cursor.batches_per_epoch:
            yield from self.reporter.flush()
            epoch = self._end_epoch()
        else:
            yield from self.reporter.report()
        for aside in self.asides:
            yield from aside.attend(epoch)
        if epoch is not None:
            yield self.complete(epoch)
        step = machine.progress.step
        yield from self.steering.attend()
        keep, save = self._snapshots.due(step), self.saves.reason(epoch is not None)
        if keep or save:
            # A restore point is judged by its smoothed loss, which must include its own step; and the journal must
            # not lack a step that a checkpoint includes.
            yield from self.reporter.flush()
        if keep:
            yield from self.steering.snapshot(INTERVAL)
        if save:
            self.saves.save(save)
        yield from self.saves.results()
        yield from self.usage.attend()
        yield from self._correct_steps()

    def _end_epoch(self) -> EpochEnded:
        machine, progress, now = self.machine, self.machine.progress, self._clock()
        loss = progress.epoch_loss / progress.epoch_steps if progress.epoch_steps else float("nan")
        seconds, self._epoch_began = now - self._epoch_began, now
        progress.epoch_loss, progress.epoch_steps = 0.0, 0
        return EpochEnded(branch=progress.branch, step=progress.step, epoch=machine.cursor.epoch + 1, loss=loss,
                          val_loss=None, val_step=0, seconds=round(seconds, 3))

    def _correct_steps(self) -> Iterator[Event]:
        """Re-estimate the last step of a run in minutes; a change is journaled like any change of a knob."""
        planned, step = self.machine.knobs.steps, self.machine.progress.step
        if self._budget is None or self.machine.schedule.landing or not planned:
            return
        self._budget.closing = sum(aside.closing_seconds for aside in self.asides)
        last = self._budget.last_step(step, planned)
        if last != planned:
            yield from self.steering.correct_steps(last, by=askers.BUDGET)

    def _while_paused(self) -> Iterator[Event]:
        """Continue work in progress, then block until a command arrives."""
        yield from self.reporter.flush()
        for aside in self.asides:
            yield from aside.while_paused()
        yield from self.saves.results()
        if not any(aside.busy for aside in self.asides):
            yield from self.orders.wait(0.2)

    def _ask_asides(self, command: c.Command) -> Iterator[Event]:
        for aside in self.asides:
            if isinstance(command, aside.answers):
                yield from self.reporter.flush()
                yield from aside.answer(command, self.steering)
                return
        raise Refused(f"the engine knows no command {type(command).__name__}")

    def _waited(self, seconds: float) -> None:
        """Exclude a pause from the budget and from the speed."""
        self._epoch_began += seconds
        if self._budget is not None:
            self._budget.waited(seconds)
        self.reporter.moved()

    def _finish(self) -> Iterator[Event]:
        stop, progress = self.orders.stop, self.machine.progress
        yield from self.reporter.flush()
        if stop is None or stop.exit_code in (FINISHED, DIVERGED):
            yield from self._unless_no_room(self._finish_asides(everything=stop is None))
        yield from self.saves.finish(self.machine.state())  # no copy: training is over
        reason, code = (stop.reason, stop.exit_code) if stop else ("finished", FINISHED)
        if self.saves.failing:
            reason, code = f"{reason}, but its last state could not be saved", code or ERROR
        yield RunEnded(reason=reason, exit_code=code,
                       branch=progress.branch, step=progress.step, id=stop.id if stop else "",
                       by=stop.by if stop else "")

    def _finish_asides(self, everything: bool) -> Iterator[Event]:
        # Somebody who ends a run waits for what was asked for; minutes bind.
        until = self._budget.until if everything and self._budget is not None else math.inf
        for aside in self.asides:
            yield from aside.finish(everything, until)
