"""The lineage of a run: which branches and steps led to its present step. Knows no losses or norms.

A line consists of a branch's own steps, preceded by its parent's up to where the branch opened, and so on to the
first step.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tuitrain.protocol import events as e

MOST = 1000
"""Maximum number of branches whose origin is stored."""
ON_DISK = re.compile(r"b(\d{1,9})-s?\d+")
Place = tuple[int, int]
"""A branch and a step on it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The steps of one branch that belong to a line, both ends included; `parent` is the branch before it, if known."""

    branch: int
    first: int
    last: int
    parent: int | None


@dataclass(slots=True)
class Lineage:
    """The present place; `forks` maps each branch to its parent and the parent's step after which it began."""

    branch: int = 0
    step: int = 0
    forks: dict[int, Place] = field(default_factory=dict)
    _ends: dict[int, int] = field(default_factory=dict)
    """The last step of each ancestor of the present branch."""

    def fold(self, event: e.Event, branch_of: Callable[[str], int | None] = lambda point: None) -> Place | None:
        """Update the lineage with an event; return the place from which training continues if it moved, else None.

        `branch_of` returns the branch of a restore point, for journals of older versions.
        """
        match event:
            case e.StepsDone():
                last = event.first_step + len(event.loss) - 1
                if event.branch == self.branch:
                    self.step = last
                    return None
                origin = self._origin(event.branch, event.first_step - 1, None, None)  # its opening event is lost
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
        """Whether a step of a branch belongs to the present lineage."""
        return branch == self.branch or step <= self._ends.get(branch, -1)

    def path(self, place: Place | None = None) -> tuple[Segment, ...]:
        """Return the segments that led to a place (None: the present one), oldest first."""
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
        """Return the last step that the lines to two places share; 0 if there is none."""
        ends = {s.branch: s.last for s in self.path(other)}
        return max((min(s.last, ends[s.branch]) for s in self.path(one) if s.branch in ends), default=0)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"branch": self.branch, "step": self.step,
                "forks": [[branch, *origin] for branch, origin in self.forks.items()]}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "Lineage":
        """Read what `to_wire` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        forks = {int(branch): (int(parent), int(step)) for branch, parent, step in wire["forks"][-MOST:]}
        lineage = cls(int(wire["branch"]), int(wire["step"]), forks)
        lineage._remember()
        return lineage

    def _origin(self, branch: int, step: int, parent: int | None, named: int | None) -> Place:
        if parent is None and (branch == self.branch or branch in self.forks or branch <= max(self.forks, default=0)):
            return branch, step  # the branch existed before
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
    """Return the branch in a checkpoint's name, None if it is not such a name."""
    found = ON_DISK.match(name)
    return int(found[1]) if found else None
