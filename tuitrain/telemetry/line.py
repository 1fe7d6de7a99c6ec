"""The numbers by step of one line, and the lines of a run: the present one and the last abandoned ones.

A rollback starts a line with the steps of its past; going to a step of another branch rebuilds that branch's line.
"""

import copy
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.protocol import events as e
from tuitrain.protocol.codec import plain
from tuitrain.telemetry.lineage import Lineage, Place
from tuitrain.telemetry.series import MAX_COUNT, Array, History, Ring, median

RECENT = 2000
"""Steps in full resolution."""
LEFT, LEFT_RECENT = 3, 500
"""Maximum number of abandoned lines that are stored, and of their steps in full resolution."""
DRAINS = 120
GROUPS = 1000
"""Maximum number of parameter groups."""


def _by_step() -> Ring:
    """Return the default of a field that has a number for each step."""
    return Ring(RECENT)


@dataclass(slots=True)
class Line:
    """Losses and norms of the steps that led to the newest of `branch`; `norms` holds a median per drain and group.

    A field made by `_by_step` is one of `RINGS`: it travels and follows a rollback by being declared. `learned` has to
    give it a number for each step.
    """

    branch: int = 0
    loss: Ring = field(default_factory=_by_step)
    grad_norm: Ring = field(default_factory=_by_step)
    clipped: Ring = field(default_factory=_by_step)
    losses: History = field(default_factory=History)
    grad_norms: History = field(default_factory=History)
    norms: dict[str, Ring] = field(default_factory=dict)
    drains: Ring = field(default_factory=lambda: Ring(DRAINS))
    """The last step of each drain that is in `norms`."""

    @property
    def last_step(self) -> int:
        """The newest known step."""
        return self.losses.last_step

    def ring(self, name: str) -> Ring:
        """Return one of `RINGS`."""
        ring: Ring = getattr(self, name)
        return ring

    def learned(self, event: e.StepsDone) -> None:
        """Append the numbers of steps. Raises ValueError for impossible steps."""
        if not 1 <= event.first_step <= MAX_COUNT or len(event.loss) != len(event.grad_norm):
            raise ValueError("no steps of a run")
        self.go_on_after(event.first_step - 1)
        losses, norms = np.array(event.loss), np.array(event.grad_norm)
        numbers = {"loss": losses, "grad_norm": norms, "clipped": _each(event)}
        for name in RINGS:
            self.ring(name).extend(numbers[name])
        self.losses.extend(losses)
        self.grad_norms.extend(norms)
        medians = {name: _median(values) for name, values in event.norms.items() if values}
        if medians:  # a short drain of a thinned run has none
            self._add_norms(self.last_step, medians)

    def go_on_after(self, step: int) -> None:
        """Discard everything after a step; missing steps before it stay unknown."""
        known = self.last_step
        if step < known:
            for name in RINGS:
                self.ring(name).drop(known - step)
            drains = self.drains.last()
            late = int((drains > step).sum())
            for ring in (self.drains, *self.norms.values()):
                ring.drop(late)
            if not len(self.drains):
                self.norms = {}
            self.losses.cut(step, self.loss.last())
            self.grad_norms.cut(step, self.grad_norm.last())
        elif step > known:
            for name in RINGS:
                setattr(self, name, _by_step())
            self.losses.skip(step - known)
            self.grad_norms.skip(step - known)

    def shorten(self) -> None:
        """Keep only the recent steps that an abandoned line may need."""
        for name in RINGS:
            self.ring(name).keep(LEFT_RECENT)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"branch": self.branch,
                "rings": {name: plain([_short(v) for v in self.ring(name).last().tolist()]) for name in RINGS},
                "norms": {name: plain([_short(v) for v in ring.last().tolist()])
                          for name, ring in self.norms.items()},
                "drains": [int(v) for v in self.drains.last()],
                "histories": [self.losses.to_wire(), self.grad_norms.to_wire()]}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "Line":
        """What `to_wire` told. Raises KeyError, TypeError or ValueError if it did not."""
        losses, grad_norms = (History.from_wire(h) for h in wire["histories"])
        line = cls(int(wire["branch"]), losses=losses, grad_norms=grad_norms)
        if len(wire["norms"]) > GROUPS:
            raise ValueError("more groups than a state holds")
        for name in RINGS:
            line.ring(name).extend(np.array([float(v) for v in wire["rings"][name][-RECENT:]]))
        line.drains.extend(np.array([float(v) for v in wire["drains"][-DRAINS:]]))
        for name, values in wire["norms"].items():
            line.norms[str(name)] = ring = Ring(DRAINS)
            ring.extend(np.array([float(v) for v in values[-DRAINS:]]))
        return line

    def _add_norms(self, step: int, medians: dict[str, float]) -> None:
        before = len(self.drains)
        self.drains.extend(np.array([float(step)]))
        for name in [name for name in medians if name not in self.norms]:
            self.norms[name] = Ring(DRAINS)
            self.norms[name].extend(np.full(before, np.nan))
        for name, ring in self.norms.items():
            ring.extend(np.array([medians.get(name, np.nan)]))


RINGS = tuple(spec.name for spec in fields(Line) if spec.default_factory is _by_step)
"""The fields of a line that hold a number for each of its last steps."""


@dataclass(slots=True)
class Lines:
    """The present line and the last abandoned ones, newest at the right."""

    present: Line = field(default_factory=Line)
    left: deque[Line] = field(default_factory=lambda: deque(maxlen=LEFT))

    def move(self, branch: int, origin: Place, lineage: Lineage) -> None:
        """Continue on `branch` from `origin`, building its line from the one that shares most steps with it."""
        known = [self.present, *reversed(self.left)]
        shared = [lineage.shared((line.branch, line.last_step), origin) for line in known]
        most = int(np.argmax(shared))
        line = copy.deepcopy(known[most])
        line.go_on_after(min(shared[most], line.last_step))
        line.go_on_after(origin[1])
        old, line.branch = self.present, branch
        began = lineage.forks.get(old.branch, (0, 0))[1]
        self.left = deque((x for x in self.left if x.branch != branch), LEFT)
        if old.branch != branch and old.last_step > began:  # otherwise all its steps are on another line
            old.shorten()
            self.left.append(old)
        self.present = line

    def to_wire(self) -> list[Any]:
        """Plain JSON, the present line first."""
        return [line.to_wire() for line in (self.present, *self.left)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> "Lines":
        """What `to_wire` told. Raises KeyError, TypeError or ValueError if it did not."""
        present, *left = wire
        if len(left) > LEFT:
            raise ValueError("more lines than a state holds")
        return cls(Line.from_wire(present), deque((Line.from_wire(line) for line in left), LEFT))


def _median(values: Any) -> float:
    finite: NDArray[Any] = np.array([v for v in values if np.isfinite(v)])
    return median(finite)


def _short(value: float) -> float | int:
    """Round to the nine digits that give a float32 back; whole numbers become integers, which are shorter in JSON."""
    return int(value) if np.isfinite(value) and value == int(value) else float(f"{value:.9g}")


def _each(event: e.StepsDone) -> Array:
    """Whether each step was clipped: one that was thinned out counts as the step that was told before it."""
    told = np.array(event.clipped, dtype=float)
    lead = (1 - event.first_step) % event.every
    return np.concatenate([told[:1].repeat(lead), told.repeat(event.every)])[: len(event.loss)]
