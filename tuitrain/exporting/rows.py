"""A run as a table: a row for each step of each branch, and the one declaration of its columns.

What the journal did not tell (numbers that a fast run thins out, a step that was not evaluated) is None; what was told
and is not finite stays nan or inf. Rows are read as they are needed, so that a long run needs no more memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuitrain.errors import RunError
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.protocol.facts import RunFacts
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.lineage import Lineage, branch_on_disk

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A name, a unit (empty for a bare number or flag), a kind (`whole`, `number` or `flag`) and a meaning."""

    name: str
    unit: str
    kind: str
    meaning: str

    @property
    def head(self) -> str:
        """The name with its unit, as a header has it."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(slots=True)
class Sheet:
    """What must be known of a run before its rows are read."""

    run: RunDirectory
    unit: LossUnit
    config: dict[str, Any]
    groups: tuple[str, ...]
    characters: int
    """Characters that a step learns from; 0 if the run has none."""
    lineage: Lineage = field(default_factory=Lineage)
    validation: dict[tuple[int, int], float] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of every row, in their order."""
        loss = self.unit.name
        return (
            Column("branch", "", "whole", "which line of steps; 0 is the first"),
            Column("step", "", "whole", "optimizer updates, counted from 1"),
            Column("on_line", "", "flag", "whether the step led to the present"),
            Column("time", "Unix s", "number", "when the step was reported"),
            Column("characters", "characters", "whole", "characters learned from up to the step"),
            Column("loss", loss, "number", "training loss of the step"),
            Column("grad_norm", "L2, before clipping", "number", "gradient norm over all parameters"),
            Column("clipped", "", "flag", "whether the norm exceeded the clip"),
            Column("skipped", "", "flag", "whether the step was withheld: its numbers were not finite"),
            Column("lr", "", "number", "learning rate in force"),
            Column("clip", "L2, 0 is off", "number", "threshold of the gradient norm in force"),
            Column("val_loss", loss, "number", "validation loss of the weights after the step"),
            *(Column(f"norm/{group}", "L2, before clipping", "number", f"gradient norm of {group}")
              for group in self.groups))

    def rows(self) -> Iterator[Row]:
        """Yield the rows in the order of the journal."""
        for event, when in journal.read(self.run.journal, kinds=(e.StepsDone,)):
            assert isinstance(event, e.StepsDone)
            lead, scale = (1 - event.first_step) % event.every, self.unit.scale
            for i, (loss, norm) in enumerate(zip(event.loss, event.grad_norm, strict=False)):
                step = event.first_step + i
                at, rest = divmod(i - lead, event.every)
                told = at if rest == 0 and at >= 0 else -1
                validation = self.validation.get((event.branch, step))
                yield (event.branch, step, self.lineage.holds(event.branch, step), when,
                       step * self.characters if self.characters else None, loss * scale, norm,
                       _flag(event.clipped, told), _flag(event.skipped, told), _at(event.lr, told),
                       _at(event.clip, told), None if validation is None else validation * scale,
                       *(_at(event.norms.get(group, ()), told) for group in self.groups))


def sheet(run: RunDirectory) -> Sheet:
    """Read what the rows need. Raises RunError if the run has no steps."""
    config: dict[str, Any] = dict(run.read_config().get("config", {}))
    facts, lineage, groups, steps = RunFacts(), Lineage(), dict[str, None](), 0
    validation: dict[tuple[int, int], float] = {}
    kinds = (e.RunStarted, e.RunResumed, e.FactsAdded, e.StepsDone, e.RolledBack, e.Undone, e.Evaluated)
    for event, _ in journal.read(run.journal, kinds=kinds):
        lineage.fold(event, branch_on_disk)
        match event:
            case e.RunStarted() | e.RunResumed():
                facts, config = RunFacts.of(event.facts), dict(event.config)
            case e.FactsAdded():
                facts = facts.adding(event.facts)
            case e.StepsDone():
                steps += len(event.loss)
                groups |= dict.fromkeys(event.norms)
            case e.Evaluated(part=False):
                validation[event.branch, event.step] = event.loss
    if not steps:
        raise RunError(f"{run.path} has no steps to export: its journal is missing or empty")
    size, length = config.get("batch_size"), config.get("bptt")
    characters = size * length if isinstance(size, int) and isinstance(length, int) else 0
    return Sheet(run, facts.capabilities.loss, config, tuple(groups), characters, lineage, validation)


def _at(values: Any, place: int) -> float | None:
    return values[place] if 0 <= place < len(values) else None


def _flag(values: Any, place: int) -> bool | None:
    return bool(values[place]) if 0 <= place < len(values) else None


def finite(value: Any) -> bool:
    """Whether a cell holds a number that can be drawn."""
    return value is not None and bool(np.isfinite(value))
