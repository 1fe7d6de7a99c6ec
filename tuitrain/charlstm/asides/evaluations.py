"""Measures the validation loss when it is due, in a few slices on frozen weights after each step.

The whole validation part is measured at intervals and slowly enough not to delay training; a small fixed part of it
often and at once. An evaluation never changes what training does next, with one exception: the plateau schedule uses
the whole, which is then measured at once, at its own step, so that resuming stays exact.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tuitrain.charlstm.asides.pace import Pace
from tuitrain.charlstm.looks.evaluator import Evaluator, steps_between_parts
from tuitrain.charlstm.machine import Machine
from tuitrain.engine.progress import on_lineage
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steering import Steering
from tuitrain.errors import Refused
from tuitrain.intervals import due
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import END, EPOCH, INTERVAL, EngineSaid, EpochEnded, Evaluated, Event, WorkAdvanced

LN2 = float(np.log(2))
SPREAD = 3
"""A scheduled evaluation spreads its slices over 1/SPREAD of the time to the next one."""
REMEMBERED = 200
"""Evaluations of the whole among which the newest of the present line is looked for after a rollback."""
AT_A_TIME = 3
"""Slices after each step for an evaluation that somebody waits for, at least: about as long as a usual step."""
AWAITED = 0.3
"""Share of the time that such an evaluation takes where steps are so long that this is more."""


@dataclass(slots=True)
class _Evaluation:
    snapshot: Snapshot
    slices: Iterator[tuple[Tensor, int]]
    reason: str
    id: str
    by: str
    started: float
    pace: float
    """Slices after each step."""
    credit: float = 0.0
    done: int = 0
    sums: list[tuple[Tensor, int]] = field(default_factory=list)
    """After each slice."""


class Evaluations:
    """Runs one evaluation of the whole at a time on frozen weights, and evaluations of a part between its slices."""

    answers: tuple[type[c.Command], ...] = (c.Evaluate,)

    def __init__(self, machine: Machine, every: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._every, self._clock = machine, every, clock
        self._evaluator = Evaluator(machine.config, machine.model, machine.corpus.validation)
        self._every_part = steps_between_parts(machine.config, len(machine.corpus.validation))
        self._at_once = machine.config.lr_schedule == "plateau"
        self._running: deque[_Evaluation] = deque()
        self._pace, self._part_slices = Pace(), 0
        self.best = float("inf")
        self._taken: deque[tuple[int, int, float]] = deque(maxlen=REMEMBERED)
        self._sums: list[tuple[Tensor, int]] = []
        self._since = clock()
        self.on_best: Callable[[Snapshot], None] | None = None

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Start what is due and do some slices of the running evaluation."""
        step = self._machine.progress.step
        started = due(step, self._every, early=(4,))
        # A long epoch also ends with an evaluation; by step number alone, so that a resumed run does the same.
        started = started or (epoch is not None and self._machine.steps_per_epoch >= self._every)
        if started:
            yield from self.advance(everything=True)  # what takes longer than the time between two
            pace = self._evaluator.slices() * SPREAD / self._every
            self._begin(EPOCH if epoch is not None else INTERVAL, pace=pace)
        elif self._every_part and due(step, self._every_part, early=(4, 2)):
            yield self._part()
        yield from self.advance(everything=started and self._at_once)

    def while_paused(self) -> Iterator[Event]:
        """Do at least one slice while training is paused."""
        yield from self.advance(hurry=True)

    @property
    def closing_seconds(self) -> float:
        """Estimated seconds of running evaluations and of that of the last step, by the pace of the last slices."""
        slices = self._evaluator.slices()
        return self._pace.seconds(slices * (len(self._running) + 1) - sum(e.done for e in self._running))

    def finish(self, everything: bool, until: float = math.inf) -> Iterator[Event]:
        """Finish running evaluations; with `everything` also evaluate the last step.

        At `until` whatever is unfinished is left out, and a part of the validation text is measured instead.
        """
        newest = self.newest
        if everything and (newest is None or newest[1] != self._machine.progress.step):
            self.start(END)
        for evaluation in self._running:
            evaluation.pace, evaluation.credit = 1.0, 0.0  # a look at the clock after each slice
        while self._running:
            if self._clock() + self._pace.seconds(self._part_slices) >= until:
                self._running.clear()
                instead = ": a part of the validation text is measured instead" if self._every_part else ""
                yield EngineSaid(text=f"the minutes are over, and the last evaluation is left out{instead}")
                if self._every_part:
                    yield self._part()
                return
            yield from self.advance(hurry=True)

    def answer(self, command: c.Command, steering: Steering) -> Iterator[Event]:
        """Start an evaluation, whose result answers the command."""
        self.start("asked for", command.id, command.by)
        yield WorkAdvanced(what="validation", done=0, of=1, answers=command.id)

    def start(self, reason: str, id: str = "", by: str = "") -> None:
        """Queue an evaluation of the present weights. Raises Refused if too many are waiting."""
        if len(self._running) > 4:
            raise Refused("evaluations are under way already; wait for them")
        self._begin(reason, id, by)

    def _begin(self, reason: str, id: str = "", by: str = "", *, pace: float = AT_A_TIME) -> None:
        snapshot = self._machine.freeze()
        self._running.append(_Evaluation(snapshot, self._evaluator.run(snapshot), reason, id, by, self._clock(), pace))

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def advance(self, everything: bool = False, hurry: bool = False) -> Iterator[Event]:
        """The slices that are due after a step, at least one in a hurry, or all slices of all evaluations.

        If somebody waits for one of them, slices go on for a share of the time since the last call.
        """
        now, since, self._since = self._clock(), self._since, self._clock()
        until = now + AWAITED * (now - since) if any(e.id for e in self._running) else now
        while self._running:
            evaluation = self._running[0]
            # Whoever waits for the second evaluation also waits for the first.
            evaluation.credit += max(e.pace for e in self._running)
            if hurry:
                evaluation.credit = max(1.0, evaluation.credit)
            while everything or evaluation.credit >= 1 or self._clock() < until:
                evaluation.credit = max(0.0, evaluation.credit - 1)
                began = self._clock()
                sums = next(evaluation.slices, None)
                self._pace.took(self._clock() - began, 1)
                if sums is None:
                    break
                evaluation.sums.append(sums)
                evaluation.done += 1
            else:
                yield from self._on_the_way()
                return
            self._running.popleft()
            yield from self._finished(evaluation)
            if not everything:
                return

    def _on_the_way(self) -> Iterator[WorkAdvanced]:
        """Yield the progress of the evaluation that somebody waits for, including those before it."""
        asked = [i for i, e in enumerate(self._running) if e.id]
        if asked:
            before = list(self._running)[: asked[0] + 1]
            yield WorkAdvanced(what="validation", done=sum(e.done for e in before),
                               of=len(before) * self._evaluator.slices(), answers=before[-1].id)

    def _part(self) -> Evaluated:
        began, snapshot = self._clock(), self._machine.freeze()
        sums = list(self._evaluator.run(snapshot, part=True))
        (nats, count), self._part_slices = sums[-1], len(sums)
        loss = float(nats) / count
        self._pace.took(self._clock() - began, len(sums))
        return Evaluated(branch=snapshot.branch, step=snapshot.step, loss=loss, bpc=loss / LN2, best=False, part=True,
                         characters=count, reason=INTERVAL, seconds=round(self._clock() - began, 3))

    def _finished(self, evaluation: _Evaluation) -> Iterator[Event]:
        nats, count = evaluation.sums[-1]
        loss, snapshot = float(nats) / count, evaluation.snapshot
        best = loss < self.best
        self._taken.append((snapshot.branch, snapshot.step, loss))
        self._sums = evaluation.sums
        if best:
            self.best = loss
        yield Evaluated(branch=snapshot.branch, step=snapshot.step, loss=loss, bpc=loss / LN2, best=best,
                        characters=count, reason=evaluation.reason, id=evaluation.id, by=evaluation.by,
                        seconds=round(self._clock() - evaluation.started, 3))
        # An evaluation requested by a person must not affect the plateau schedule.
        if evaluation.reason in (INTERVAL, EPOCH) and self._machine.schedule.evaluated(loss):
            yield EngineSaid(text=f"no better validation loss for {self._machine.config.lr_patience} evaluations: "
                                  f"learning rate lowered to {self._machine.lr_in_force:.3g}")
        if best and self.on_best is not None:
            self.on_best(snapshot)

    def stretches(self) -> NDArray[np.float64]:
        """Return the loss of each slice of the newest evaluation of the whole, for a comparison stretch by stretch."""
        if not self._sums:
            return np.empty(0)
        nats = np.array([float(total) for total, _ in self._sums])
        counts = np.array([count for _, count in self._sums])
        nats, counts = np.diff(nats, prepend=0.0), np.diff(counts, prepend=0)
        return nats[counts > 0] / counts[counts > 0]

    def with_loss(self, epoch: EpochEnded) -> EpochEnded:
        """Return the event with the newest validation loss of its line and its step."""
        newest = self.newest
        return epoch if newest is None else replace(epoch, val_loss=newest[2], val_step=newest[1])

    @property
    def newest(self) -> tuple[int, int, float] | None:
        """Branch, step and loss of the newest evaluation of the whole on the line that led here, if any is known."""
        progress = self._machine.progress
        mine = [taken for taken in self._taken if on_lineage(progress, taken[0], taken[1])]
        return max(mine, key=lambda taken: taken[1], default=None)

    def to_values(self) -> dict[str, Any]:
        """Return what a checkpoint stores of the evaluations so far."""
        return {"best_val": self.best, "newest_val": self.newest}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from the values of a checkpoint; those of older versions lack the newest loss."""
        self.best = float(values.get("best_val", "inf"))
        if newest := values.get("newest_val"):
            self._taken.append((int(newest[0]), int(newest[1]), float(newest[2])))
