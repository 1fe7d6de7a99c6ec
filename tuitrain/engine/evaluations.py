"""When the validation loss is measured: due by step, one slice of frozen weights after each step.

An evaluation never changes what training does next, with one exception: the plateau schedule lives on it, so there
it is made at once, at its own step, and resuming stays exact.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tuitrain.engine.evaluation import Evaluator
from tuitrain.engine.machine import Machine
from tuitrain.engine.schedule import due
from tuitrain.engine.snapshot import Snapshot
from tuitrain.errors import Refused
from tuitrain.protocol.events import EngineSaid, EpochEnded, Evaluated, Event

LN2 = float(np.log(2))


@dataclass(slots=True)
class _Evaluation:
    snapshot: Snapshot
    reason: str
    id: str
    by: str
    started: float
    slices: Iterator[tuple[float, int]] | None = None
    epochs: list[EpochEnded] = field(default_factory=list)


class Evaluations:
    """One evaluation at a time on frozen weights, one slice after each step."""

    def __init__(self, machine: Machine, every: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._every, self._clock = machine, every, clock
        self._evaluator = Evaluator(machine.config, machine.model, machine.corpus.validation)
        self._at_once = machine.config.lr_schedule == "plateau"
        self._running: deque[_Evaluation] = deque()
        self._sums = (0.0, 0)
        self.best = float("inf")
        self.latest: tuple[float | None, int] = (None, 0)
        self.on_best: Callable[[Snapshot], None] | None = None

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Start what is due, do one slice; the line of an epoch waits for its evaluation."""
        started = due(self._machine.progress.step, self._every, early=(4,))
        # A long epoch ends with an evaluation, too. By step alone, so that a resumed run does the same.
        started = started or (epoch is not None and self._machine.steps_per_epoch >= self._every)
        if started:
            self.start("epoch" if epoch is not None else "interval")
        if epoch is not None:
            if started:
                self._running[-1].epochs.append(epoch)
            else:
                yield self._with_loss(epoch)
        yield from self.advance(everything=started and self._at_once)

    def start(self, reason: str, id: str = "", by: str = "") -> None:
        """Evaluate the weights as they are now; asked twice, it is queued."""
        if len(self._running) > 4:
            raise Refused("evaluations are under way already; wait for them")
        self._running.append(_Evaluation(self._machine.freeze(), reason, id, by, self._clock()))

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def advance(self, everything: bool = False) -> Iterator[Event]:
        """One slice of the running evaluation, or all slices of all of them."""
        while self._running:
            evaluation = self._running[0]
            if evaluation.slices is None:  # one model for all evaluations, so one at a time
                evaluation.slices = self._evaluator.run(evaluation.snapshot)
            for self._sums in evaluation.slices:
                if not everything:
                    return
            self._running.popleft()
            yield from self._finished(evaluation)
            if not everything:
                return

    def _finished(self, evaluation: _Evaluation) -> Iterator[Event]:
        nats, count = self._sums
        loss, snapshot = nats / count, evaluation.snapshot
        best = loss < self.best
        self.latest = (loss, snapshot.step)
        if best:
            self.best = loss
        yield Evaluated(branch=snapshot.branch, step=snapshot.step, loss=loss, bpc=loss / LN2, best=best,
                        characters=count, reason=evaluation.reason, id=evaluation.id, by=evaluation.by,
                        seconds=round(self._clock() - evaluation.started, 3))
        for epoch in evaluation.epochs:
            yield self._with_loss(epoch)
        # What a person asks for on the way must not move the plateau schedule.
        if evaluation.reason in ("interval", "epoch") and self._machine.schedule.evaluated(loss):
            yield EngineSaid(text=f"no better validation loss for {self._machine.config.lr_patience} evaluations: "
                                  f"learning rate lowered to {self._machine.lr_in_force:.3g}")
        if best and self.on_best is not None:
            self.on_best(snapshot)

    def _with_loss(self, epoch: EpochEnded) -> EpochEnded:
        loss, step = self.latest
        return EpochEnded(branch=epoch.branch, step=epoch.step, epoch=epoch.epoch, loss=epoch.loss, val_loss=loss,
                          val_step=step, seconds=epoch.seconds)
