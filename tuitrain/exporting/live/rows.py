"""Events of a run as rows for a log: at most one a second, so that no library has to keep up with the steps. Pure."""

import math
from collections.abc import Iterator

from tuitrain.exporting.live.target import Row, Sample
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.protocol.facts import RunFacts

PACE = 1.0
"""Seconds that a row stands for, at least. Every step is in the journal, and in what `tuitrain export` makes of it."""


class Rows:
    """Turns events into rows with the names of an export's columns, losses in the unit of the run."""

    def __init__(self) -> None:
        self._unit = LossUnit()
        self._forget()
        self._last = -math.inf

    def take(self, event: e.Event, when: float) -> Iterator[Row | Sample]:
        """Yield what an event completes."""
        match event:
            case e.RunStarted() | e.RunResumed():
                self._unit = RunFacts.of(event.facts).capabilities.loss
            case e.StepsDone():
                if event.branch != self._branch or event.first_step != self._step + 1:
                    yield from self.rest()
                self._add(event, when)
                if when - self._last >= PACE:
                    yield from self.rest()
            case e.Evaluated(part=False):
                yield from self.rest()
                yield Row(event.branch, event.step, when, {"val_loss": event.loss * self._unit.scale})
            case e.SampleDrawn():
                yield Sample(event.branch, event.step, when, event.prompt + event.text)
            case e.RunEnded():
                yield from self.rest()

    def rest(self) -> Iterator[Row]:
        """Yield the steps that no row has yet."""
        if not self._losses:
            return
        values = {"loss": _mean(self._losses) * self._unit.scale, "grad_norm": _mean(self._norms),
                  "grad_norm_max": max(self._norms, key=lambda norm: math.inf if math.isnan(norm) else norm),
                  **{name: numbers[-1] for name, numbers in self._told.items() if numbers},
                  **{name: _mean(numbers) for name, numbers in self._shares.items() if numbers},
                  "steps_per_second": len(self._losses) / self._seconds if self._seconds > 0 else math.nan}
        row = Row(self._branch, self._step, self._when, values)
        self._last = self._when
        self._forget()
        yield row

    def _add(self, event: e.StepsDone, when: float) -> None:
        self._branch, self._step, self._when = event.branch, event.first_step + len(event.loss) - 1, when
        self._losses += event.loss
        self._norms += event.grad_norm
        self._seconds += event.seconds
        self._told["lr"] += event.lr
        self._told["clip"] += event.clip
        self._told["epoch"].append(event.epoch)
        self._shares["clipped"] += event.clipped
        self._shares["skipped"] += event.skipped
        for group, norms in event.norms.items():
            self._shares.setdefault(f"norm/{group}", []).extend(norms)

    def _forget(self) -> None:
        self._branch = self._step = -1
        self._when = self._seconds = 0.0
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._told: dict[str, list[float]] = {"lr": [], "clip": [], "epoch": []}
        self._shares: dict[str, list[float]] = {"clipped": [], "skipped": []}


def _mean(numbers: list[float]) -> float:
    # fsum raises where there are both infinities.
    return sum(numbers) / len(numbers)
