"""Which branches and steps led to where a run is: the one definition of the line that led here.

A line is a branch's own steps, before them its parent's up to where the branch opened, and so on to the first step.
Knows no numbers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tuitrain.protocol import events as e

MOST = 1000
"""Branches whose origin is remembered."""
ON_DISK = re.compile(r"b(\d{1,9})-s\d+")
Place = tuple[int, int]
"""A branch and a step of it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The steps of one branch that belong to a line, both ends included; `parent` is what came before, if known."""

    branch: int
    first: int
    last: int
    parent: int | None


@dataclass(slots=True)
class Lineage:
    """Folded by RunState. `forks` tells of each branch its parent and the step of it after which it began."""

    branch: int = 0
    step: int = 0
    forks: dict[int, Place] = field(default_factory=dict)
    _ends: dict[int, int] = field(default_factory=dict)
    """The last step of each ancestor of the present branch."""

    def fold(self, event: e.Event, branch_of: Callable[[str], int | None] = lambda point: None) -> Place | None:
        """Take an event in; returns the place that training goes on from if the event moved it, else None.

        `branch_of` tells the branch of a restore point, for what older versions wrote.
        """
        match event:
            case e.StepsDone():
                last = event.first_step + len(event.loss) - 1
                if event.branch == self.branch:
                    self.step = last
                    return None
                origin = self._origin(event.branch, event.first_step - 1, None, None)  # what opened it was lost
                self._go(event.branch, last, origin)
                return origin
            case e.RolledBack():
                step, named = event.to_step, branch_of(event.point)
            case e.RunResumed():
                step, named = event.step, branch_of(event.checkpoint)
            case e.Undone():
                step, named = event.step, None
            case _:
                return None
        if (event.branch, step) == (self.branch, self.step):
            return None
        origin = self._origin(event.branch, step, event.parent, named)
        self._go(event.branch, step, origin)
        return origin

    def holds(self, branch: int, step: int) -> bool:
        """Whether what happened at a step of a branch belongs to the line that led here."""
        return branch == self.branch or step <= self._ends.get(branch, -1)

    def path(self, place: Place | None = None) -> tuple[Segment, ...]:
        """The segments that led to a place, None for the present one, the oldest first."""
        branch, last = place or (self.branch, self.step)
        segments: list[Segment] = []
        seen: set[int] = set()
        while branch not in seen:
            seen.add(branch)
            parent, fork = self.forks.get(branch, (None, 0))
            segments.append(Segment(branch, fork + 1, last, parent))
            if parent is None:
                break
            branch, last = parent, fork
        return tuple(reversed(segments))

    def shared(self, one: Place, other: Place) -> int:
        """The last step that the lines to two places have in common; 0 if there is none."""
        ends = {s.branch: s.last for s in self.path(other)}
        return max((min(s.last, ends[s.branch]) for s in self.path(one) if s.branch in ends), default=0)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"branch": self.branch, "step": self.step,
                "forks": [[branch, *origin] for branch, origin in self.forks.items()]}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "Lineage":
        """What `to_wire` told. Raises KeyError, TypeError or ValueError if it did not."""
        forks = {int(branch): (int(parent), int(step)) for branch, parent, step in wire["forks"][-MOST:]}
        lineage = cls(int(wire["branch"]), int(wire["step"]), forks)
        lineage._remember()
        return lineage

    def _origin(self, branch: int, step: int, parent: int | None, named: int | None) -> Place:
        if parent is None and (branch == self.branch or branch in self.forks or branch <= max(self.forks, default=0)):
            return branch, step  # it was there before
        if parent is None:
            parent = named
        if parent is None:
            parent = next((s.branch for s in self.path() if s.first <= step <= s.last), self.branch)
        return parent, step

    def _go(self, branch: int, step: int, origin: Place) -> None:
        self.branch, self.step = branch, step
        if origin[0] != branch:
            self.forks.pop(branch, None)
            self.forks[branch] = origin
        self._remember()
        while len(self.forks) > MOST:
            victim = next((b for b in self.forks if b != branch and b not in self._ends), next(iter(self.forks)))
            del self.forks[victim]

    def _remember(self) -> None:
        self._ends = {s.branch: s.last for s in self.path() if s.branch != self.branch}


def branch_on_disk(name: str) -> int | None:
    """The branch of a checkpoint by its name, None if it has no such name."""
    found = ON_DISK.match(name)
    return int(found[1]) if found else None
