"""What happens between two steps of a watched loop: report numbers, carry out commands, take snapshots, save.

Runs in the script's own thread, so it must be quick and may touch the model. Knows nothing of files or sockets.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tuitrain.engine.bounds import MAX_REASON
from tuitrain.engine.orders import Orders
from tuitrain.engine.ranks.group import Order
from tuitrain.engine.restore_points import RestorePoints
from tuitrain.engine.saves import Saves
from tuitrain.engine.steering import Steering
from tuitrain.engine.usage import Usage
from tuitrain.errors import ERROR, NoRoom, Refused
from tuitrain.intervals import Every
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.saver import Saver
from tuitrain.watching.asides import Interval, loss_of, sample_text, undisturbed
from tuitrain.watching.offers import Offers
from tuitrain.watching.recorder import Recorder
from tuitrain.watching.report import Reporter
from tuitrain.watching.subject import Subject

SNAPSHOT_SHARE = 0.01
"""Largest share of the time that snapshots may take; where copies are slow they are taken less often."""
MakeOpening = Callable[[], e.RunStarted | e.RunResumed]


@dataclass(slots=True)
class _Aside:
    """A function of the script, and when it is due."""

    call: Callable[[], Any]
    interval: Interval


class Loop:
    """Does the work between steps: `between` is a generator of events that is exhausted after each step.

    `orders.inbox` takes commands from any thread.
    """

    def __init__(self, subject: Subject, recorder: Recorder, saver: Saver, make_opening: MakeOpening, offers: Offers, *,
                 guard: str, snapshot_every: Every, checkpoint_every: Every, snapshot_memory: int, serial: int = 0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.subject, self.recorder, self.offers = subject, recorder, offers
        self.reporter = Reporter(subject, recorder.numbers, recorder.groups.names, clock,
                                 lambda: offers.sees_after)
        recorder.every = lambda: self.reporter.every
        recorder.numbers.averaged = lambda losses: subject.ranks.averaged(losses)
        self.saves = Saves(subject, saver, 1 << 62, serial)
        self.steering = Steering(subject, RestorePoints(snapshot_memory), saver.place, saver.run, self.reporter, clock)
        self.orders = Orders(subject, self.steering, self.saves, self.reporter, guard, others=self._carry_out,
                             refuse=offers.why_not, clock=clock)
        self.orders.on_continue, self.orders.on_move = lambda seconds: self.reporter.waited(), self._report_restored
        self.best = float("inf")
        self.ended: e.RunEnded | None = None
        self._usage = Usage(recorder.device, clock)
        self._snapshots = Interval(snapshot_every, "snapshot_every", clock)
        self._checkpoints = Interval(checkpoint_every, "checkpoint_every", clock)
        self._evaluation: _Aside | None = None
        self._sample: _Aside | None = None
        self._make_opening, self._opened = make_opening, False
        self._clock = clock
        self._not_before = 0.0
        """Time before which no snapshot is taken, because the last one was expensive."""
        self.saves.extra = lambda: {"best_val": self.best, "branches": self.steering.branches,
                                    "guard_mode": self.orders.guard_mode}

    def evaluates(self, call: Callable[[], Any], every: Every | None) -> None:
        """Call this function for a validation loss at the given interval."""
        self._evaluation = _Aside(call, Interval(every, "every", self._clock))
        self.offers.evaluates = True

    def samples(self, call: Callable[[], Any], every: Every | None) -> None:
        """Call this function for a sample at the given interval."""
        self._sample = _Aside(call, Interval(every, "every", self._clock))
        self.offers.samples = True

    @property
    def stopped(self) -> bool:
        """Whether the script's loop is to end."""
        return self.ended is not None

    def between(self, epoch: float | None) -> Iterator[e.Event]:
        """Yield the events of everything that is done between one optimizer step and the next."""
        self.subject.ranks.hear()
        yield from self._between(epoch)
        if self.ended is None:
            self.subject.ranks.go_on(self.subject.factor, self.subject.knobs.clip)

    def _between(self, epoch: float | None) -> Iterator[e.Event]:
        if not self._opened:
            yield from self._open()
        if epoch is not None:
            self.reporter.epoch = epoch
        if self.reporter.due:
            yield from self.reporter.flush(wait=False)
            yield from self._keep_up()
        step = self.subject.progress.step
        yield from self.steering.attend()
        if self._evaluation is not None and self._evaluation.interval.due(step):
            yield from self._evaluate(e.INTERVAL)
        if self._sample is not None and self._sample.interval.due(step):
            yield from self._draw()
        orders = self.orders
        yield from orders.obey()
        while orders.paused and orders.stop is None:
            yield from self.saves.results()
            yield from orders.wait(0.2)
        if self._reached_requested_end():
            orders.stop = c.Stop(id="", by="", reason="finished")
        if orders.stop is not None:
            yield from self.finish(orders.stop.reason, orders.stop.exit_code, id=orders.stop.id, by=orders.stop.by)

    def finish(self, reason: str, code: int, *, message: str = "", traceback: str = "", save: bool = True, id: str = "",
               by: str = "") -> Iterator[e.Event]:
        """End the run, once: report what is left, save unless `save` is False, yield RunEnded."""
        if self.ended is not None:
            return
        if not self._opened:
            yield from self._open()
        progress, ranks = self.subject.progress, self.subject.ranks
        ranks.hear()
        ranks.about_to_end()
        yield from self.reporter.flush()
        if save:
            yield from self.saves.finish(self.subject.freeze())
            yield from ranks.drift()
            if self.saves.failing:
                reason, code = f"{reason}, but its last state could not be saved", code or ERROR
        else:
            self.saves.abandon()
        self.ended = e.RunEnded(reason=reason, exit_code=code, branch=progress.branch, step=progress.step,
                                message=message, traceback=traceback, id=id, by=by)
        ranks.end(stopped=True)
        yield self.ended

    def abandon(self) -> None:
        """Save nothing any more, after an error of our own."""
        self.saves.abandon()

    def _open(self) -> Iterator[e.Event]:
        self._opened = True
        yield self._make_opening()
        for remark in self.offers.remarks:
            yield e.EngineSaid(text=remark, level="warning")
        self.reporter.waited()
        yield from self._snapshot("start")

    def _keep_up(self) -> Iterator[e.Event]:
        """Do what goes by the clock, a few times a second: capabilities, snapshots, checkpoints, memory use."""
        step = self.subject.progress.step
        if (facts := self.offers.news()) is not None:
            yield e.FactsAdded(facts=facts)
        try:
            if self._clock() >= self._not_before and self._snapshots.due(step):
                yield from self.reporter.flush()
                yield from self._snapshot(e.INTERVAL)
            if self._checkpoints.due(step):
                yield from self.reporter.flush()
                self.saves.submit(self.subject.freeze(), e.INTERVAL)
        except NoRoom as error:
            yield e.EngineSaid(text=str(error), level="warning")
        yield from self.saves.results()
        yield from self.subject.ranks.drift()
        yield from self._usage.attend()

    def _snapshot(self, reason: str, **who: Any) -> Iterator[e.Event]:
        began = self._clock()
        yield from self.steering.snapshot(reason, **who)
        now = self._clock()
        self._not_before = now + (now - began) / SNAPSHOT_SHARE

    def _carry_out(self, command: c.Command) -> Iterator[e.Event]:
        """Carry out the commands that not every kind of run knows. Raises Refused."""
        who = {"id": command.id, "by": command.by}
        match command:
            case c.DrawSample():
                yield from self._draw(**who)
            case c.Evaluate():
                yield from self._evaluate("asked for", **who)
            case _:
                raise Refused(f"{type(command).__name__} is not available in a watched loop")

    def _report_restored(self) -> Iterator[e.Event]:
        data = ("the data loader was restored, too, which takes effect at its next pass" if self.subject.restores_data
                else "the data goes on")
        yield e.EngineSaid(text=f"weights, optimizer and RNG as at step {self.subject.progress.step:,}; {data}")

    def _reached_requested_end(self) -> bool:
        """Return whether the end that someone set with the `steps` knob is reached; the script's own end is its own."""
        last = self.subject.knobs.steps
        return last != self.offers.total_steps and 0 < last <= self.subject.progress.step

    def _evaluate(self, reason: str, id: str = "", by: str = "") -> Iterator[e.Event]:
        assert self._evaluation is not None
        began = self._clock()
        yield from self.reporter.flush()
        try:
            self.subject.ranks.aside(Order.EVALUATE)
            with undisturbed(self.subject.model):
                result = self._evaluation.call()
            events = list(self.measured(result, reason, self._clock() - began, id=id, by=by))
        except Exception as error:
            self._evaluation, self.offers.evaluates = None, False
            yield from self._failed("evaluation", error, id, by)
            return
        self.reporter.waited()
        yield from events

    def measured(self, result: Any, reason: str, seconds: float, id: str = "", by: str = "") -> Iterator[e.Event]:
        """Report a validation loss of the current weights, or a mapping with `loss` and other numbers."""
        if not self._opened:
            yield from self._open()
        loss, others = loss_of(result)
        progress, best = self.subject.progress, loss < self.best
        self.best = min(self.best, loss)
        yield e.Evaluated(branch=progress.branch, step=progress.step, loss=loss, bpc=loss * self.offers.unit.scale,
                          best=best, characters=0, reason=reason, seconds=round(seconds, 3), id=id, by=by)
        for name, value in others.items():
            yield e.Logged(branch=progress.branch, name=name, steps=(progress.step,), values=(value,))
        if best:
            self.saves.submit(self.subject.freeze(), e.BEST)

    def _draw(self, id: str = "", by: str = "") -> Iterator[e.Event]:
        assert self._sample is not None
        yield from self.reporter.flush()
        try:
            self.subject.ranks.aside(Order.SAMPLE)
            with undisturbed(self.subject.model):
                text = sample_text(self._sample.call())
        except Exception as error:
            self._sample, self.offers.samples = None, False
            yield from self._failed("sample", error, id, by)
            return
        self.reporter.waited()
        progress = self.subject.progress
        yield e.SampleDrawn(branch=progress.branch, step=progress.step, temperature=0.0, prompt="", text=text,
                            health={}, id=id, by=by)

    def _failed(self, what: str, error: Exception, id: str, by: str) -> Iterator[e.Event]:
        """Report that a function of the script raised: it is not called again, and training goes on."""
        words = f"the script's {what} failed and is off: {type(error).__name__}: {error}".splitlines()[0][:MAX_REASON]
        if id:
            yield e.CommandRefused(id=id, by=by, reason=words)
        else:
            yield e.EngineSaid(text=words, level="warning")

    def adopt_clip(self, clip: float) -> Iterator[e.Event]:
        """Set the clip knob to a new threshold that the script passed while nobody had changed the knob."""
        progress, old = self.subject.progress, self.subject.knobs
        self.subject.knobs = replace(old, clip=clip)
        if self._opened:
            yield e.KnobChanged(branch=progress.branch, step=progress.step, name="clip", old=old.clip, new=clip, id="",
                                by="script")
