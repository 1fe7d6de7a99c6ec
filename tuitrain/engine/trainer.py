"""The loop: learn, say so, obey what was asked. A generator of events that does not know that it is watched."""

import math
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tuitrain.engine.bounds import MAX_NAME, MAX_REASON, check_bounds
from tuitrain.engine.budget import Budget
from tuitrain.engine.evaluations import Evaluations
from tuitrain.engine.machine import Machine
from tuitrain.engine.probes import Probes
from tuitrain.engine.promise import Promise
from tuitrain.engine.reporter import Reporter
from tuitrain.engine.restore_points import RestorePoints
from tuitrain.engine.samples import Samples
from tuitrain.engine.saves import Saves
from tuitrain.engine.steering import Steering
from tuitrain.engine.usage import Usage
from tuitrain.errors import DIVERGED, ERROR, FINISHED, NoRoom, Refused
from tuitrain.intervals import due
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import (
    CommandRefused,
    Continued,
    Dismissed,
    EngineSaid,
    EpochEnded,
    Event,
    GuardModeChanged,
    NoteAdded,
    Paused,
    RunEnded,
    RunResumed,
    RunStarted,
    WorkAdvanced,
)
from tuitrain.run.saver import Saver
from tuitrain.specs import GUARD_MODES

MAX_NOTE = 2000
COMPLAINT = 60.0
"""Seconds after which it is said again that memory is short."""


class Trainer:
    """Everything a run does, in one place; `inbox` takes commands from any thread."""

    def __init__(self, machine: Machine, saver: Saver, opening: RunStarted | RunResumed, *, snapshot_memory: int,
                 serial: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        config = machine.config
        self.machine = machine
        self.inbox: queue.SimpleQueue[c.Command] = queue.SimpleQueue()
        self.reporter = Reporter(machine, clock)
        self.evaluations = Evaluations(machine, int(config.evaluate_every), clock)
        self.samples = Samples(machine, int(config.sample_every), clock)
        self.probes = Probes(machine, saver.home, clock)
        self.saves = Saves(machine, saver, config.checkpoint_every, serial, clock)
        self.steering = Steering(machine, RestorePoints(snapshot_memory), saver.place, saver.run,
                                 self.reporter, clock)
        self.usage = Usage(machine.device, clock)
        self.promise: Promise | None = None
        self.guard_mode = config.on_divergence
        self.paused = False
        self._opening = opening
        self._clock = clock
        self._stop: c.Stop | None = None
        self._epoch_began = self._paused_since = clock()
        self._complain = -math.inf
        # A resumed run keeps the steps that its minutes had become.
        timed = config.minutes and not isinstance(opening, RunResumed)
        self._budget = Budget(config.minutes * 60, clock) if timed else None
        self.evaluations.on_best = lambda snapshot: self.saves.submit(snapshot, "best")
        self.saves.extra = lambda: {"best_val": self.evaluations.best, "branches": self.steering.branches,
                                    "guard_mode": self.guard_mode}

    def introduce(self, **facts: Any) -> None:
        """Add facts to those that the run begins with."""
        self._opening = replace(self._opening, facts={**self._opening.facts, **facts})

    def run(self) -> Iterator[Event]:
        """The whole run, as it happens."""
        self.machine.start_training_thread()
        yield from self._open()
        yield from self._set_out()
        while not self._over():
            yield from self._obey()
            if self.paused:
                yield from self._rest()
            elif not self._over():
                yield from self._learn()
                yield from self._say()
        yield from self._finish()

    def _learn(self) -> Iterator[Event]:
        if self.promise is None:
            self.machine.learn()
            return
        with self.promise.step():
            self.machine.learn()
        if words := self.promise.kept():
            yield EngineSaid(text=words)

    def _open(self) -> Iterator[Event]:
        """The first event, which says how steps will run; also where a GPU breaks down while that is tried."""
        try:
            self.machine.capture()
        except Exception:
            yield self._opening
            raise
        self.introduce(graph=self.machine.graph)
        yield self._opening
        if self.machine.config.graph == "on" and not self.machine.captured:
            self._stop = c.Stop(id="", by="", reason=f"--graph on: {self.machine.graph}"[:MAX_REASON], exit_code=ERROR)

    def _set_out(self) -> Iterator[Event]:
        for remark in self.machine.remarks:
            yield EngineSaid(text=remark, level="warning")
        if self._over():
            yield EngineSaid(text="this is the last step of the run; `--steps N` sets a later one, `--steps 0` none")
        yield from self._with_room(self.steering.snapshot("start"))
        self._epoch_began = self._clock()
        if self._budget is not None:
            self._budget.begin(self.machine.progress.step)
        self.reporter.moved()

    def _with_room(self, chores: Iterator[Event]) -> Iterator[Event]:
        """What is done beside training; without memory for a copy of the state it waits for better times."""
        try:
            yield from chores
        except NoRoom as error:
            if self._clock() >= self._complain:
                self._complain = self._clock() + COMPLAINT
                yield EngineSaid(level="warning", text=(
                    f"{error}; training goes on, and until there is memory again without restore points, checkpoints, "
                    "evaluations and samples"))

    def _over(self) -> bool:
        last = self.machine.knobs.steps
        spent = self._budget is not None and not self.paused and self._budget.spent
        return self._stop is not None or spent or 0 < last <= self.machine.progress.step

    def _say(self) -> Iterator[Event]:
        yield from self._with_room(self._attend())

    def _attend(self) -> Iterator[Event]:
        machine = self.machine
        epoch = None
        if machine.cursor.index == machine.cursor.batches_per_epoch:
            yield from self.reporter.flush()
            epoch = self._end_epoch()
        else:
            yield from self.reporter.report()
        yield from self.evaluations.attend(epoch)
        yield from self.probes.attend()
        yield from self.samples.attend()
        step, config = machine.progress.step, machine.config
        yield from self.steering.attend()
        keep = due(step, int(config.snapshot_every))
        if keep or self.saves.due:
            # A restore point is judged by its smoothed loss, so that must be of its own step; and the journal must
            # hold every step that a checkpoint has.
            yield from self.reporter.flush()
        if keep:
            yield from self.steering.snapshot("interval")
        yield from self.saves.attend()
        yield from self.usage.attend()
        yield from self._keep_to_the_budget()

    def _end_epoch(self) -> EpochEnded:
        machine, progress, now = self.machine, self.machine.progress, self._clock()
        loss = progress.epoch_loss / progress.epoch_steps if progress.epoch_steps else float("nan")
        seconds, self._epoch_began = now - self._epoch_began, now
        progress.epoch_loss, progress.epoch_steps = 0.0, 0
        return EpochEnded(branch=progress.branch, step=progress.step, epoch=machine.cursor.epoch + 1, loss=loss,
                          val_loss=None, val_step=0, seconds=round(seconds, 3))

    def _keep_to_the_budget(self) -> Iterator[Event]:
        """Minutes are turned into steps anew now and then, which is journaled like any turn of a knob."""
        planned, step = self.machine.knobs.steps, self.machine.progress.step
        if self._budget is None or self.machine.schedule.landing or not planned:
            return
        last = self._budget.last_step(step, planned)
        if last != planned:
            yield from self.steering.correct_steps(last, by="budget")

    def _rest(self) -> Iterator[Event]:
        """While paused: finish what was begun, then wait for a command without spinning."""
        yield from self.reporter.flush()
        yield from self.evaluations.advance(hurry=True)
        yield from self.samples.advance(0.5)
        yield from self.saves.tell()
        if not self.samples.busy and not self.evaluations.busy:
            try:
                command = self.inbox.get(timeout=0.2)
            except queue.Empty:
                return
            yield from self._answer(command)

    def _obey(self) -> Iterator[Event]:
        while True:
            try:
                command = self.inbox.get_nowait()
            except queue.Empty:
                return
            yield from self._answer(command)

    def _answer(self, command: c.Command) -> Iterator[Event]:
        try:
            check_bounds(command)
            yield from self._do(command)
        except Refused as refusal:
            # What was refused for its length is not repeated at length.
            yield CommandRefused(id=command.id[:MAX_NAME], by=command.by[:MAX_NAME], reason=str(refusal)[:MAX_REASON])

    def _do(self, command: c.Command) -> Iterator[Event]:
        who, here = {"id": command.id, "by": command.by}, self.machine.progress
        answer: dict[str, Any] = {"branch": here.branch, "step": here.step, **who}
        match command:
            case c.SetKnob():
                yield from self.steering.set_knob(command)
            case c.ScaleKnob():
                yield from self.steering.scale_knob(command)
            case c.SetPrompt():
                yield from self.steering.set_prompt(command)
            case c.Land():
                yield from self.steering.land(command)
            case c.Rollback():
                yield from self.steering.rollback(command)
            case c.Undo():
                yield from self.steering.undo(command)
            case c.TakeSnapshot():
                yield from self.steering.snapshot("asked for", pinned=True, **who)
            case c.SaveCheckpoint():
                yield WorkAdvanced(what="checkpoint", done=0, of=1, answers=command.id)
                self.saves.submit(self.machine.freeze(), "asked for", pinned=True, **who)
            case c.PinSnapshot():
                yield from self.steering.pin(command)
            case c.LookInside():
                yield from self.reporter.flush()
                yield from self.probes.asked(**who)
            case c.KeepBlackBox():
                if not 0 <= command.onset <= here.step:
                    raise Refused(f"step {command.onset:,} is not in the past; the run is at step {here.step:,}")
                yield from self.reporter.flush()
                yield WorkAdvanced(what="black box", done=0, of=1, answers=command.id)
                yield from self.probes.black_box(command.onset, self.steering, **who)
            case c.DrawSample():
                self.samples.start(**who)
                yield WorkAdvanced(what="samples", done=0, of=1, answers=command.id)
            case c.Evaluate():
                self.evaluations.start("asked for", **who)
                yield WorkAdvanced(what="validation", done=0, of=1, answers=command.id)
            case c.SetGuardMode():
                if command.mode not in GUARD_MODES:
                    raise Refused(f"guard {command.mode}: choose one of {', '.join(GUARD_MODES)}")
                old, self.guard_mode = self.guard_mode, command.mode
                yield GuardModeChanged(old=old, new=command.mode, **answer)
            case c.AddNote():
                if not 1 <= len(command.text.strip()) <= MAX_NOTE:
                    raise Refused(f"a note has 1 to {MAX_NOTE} characters")
                yield NoteAdded(text=command.text, **answer)
            case c.Dismiss():
                yield Dismissed(**answer)
            case c.Pause():
                yield from self._pause(answer)
            case c.Continue():
                yield from self._continue(answer)
            case c.Stop():
                self._stop = command
            case _:
                raise Refused(f"the engine knows no command {type(command).__name__}")

    def _pause(self, answer: dict[str, Any]) -> Iterator[Event]:
        if self.paused:
            raise Refused("training is paused already")
        yield from self.reporter.flush()
        self.paused, self._paused_since = True, self._clock()
        yield Paused(**answer)

    def _continue(self, answer: dict[str, Any]) -> Iterator[Event]:
        if not self.paused:
            raise Refused("training is not paused")
        self.paused = False
        # A pause is not training time: neither the budget nor the speed may count it.
        waited = self._clock() - self._paused_since
        self._epoch_began += waited
        if self._budget is not None:
            self._budget.waited(waited)
        self.reporter.moved()
        yield Continued(**answer)

    def _finish(self) -> Iterator[Event]:
        stop, progress = self._stop, self.machine.progress
        yield from self.reporter.flush()
        if stop is None or stop.exit_code in (FINISHED, DIVERGED):
            yield from self._with_room(self._last_words(stop))
        yield from self.saves.finish(self.machine.state())  # no copy: nothing changes it any more
        reason, code = (stop.reason, stop.exit_code) if stop else ("finished", FINISHED)
        if self.saves.failing:
            reason, code = f"{reason}, but its last state could not be saved", code or ERROR
        yield RunEnded(reason=reason, exit_code=code,
                       branch=progress.branch, step=progress.step, id=stop.id if stop else "",
                       by=stop.by if stop else "")

    def _last_words(self, stop: c.Stop | None) -> Iterator[Event]:
        """The evaluation and the samples that a run ends with."""
        if stop is None and self.evaluations.latest[1] != self.machine.progress.step:
            self.evaluations.start("end")
        yield from self.evaluations.advance(everything=True)
        if stop is None and not self.samples.busy:
            self.samples.start()
        yield from self.samples.finish(everything=stop is None)
