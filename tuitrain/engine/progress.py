"""Where a run is: part of every snapshot, and read back from one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tuitrain.knobs import Knobs


@dataclass(slots=True)
class Progress:
    """Where the run is. Part of every snapshot; `lineage` lists (branch, last step) of the branches before this."""

    step: int = 0
    branch: int = 0
    lineage: list[list[int]] = field(default_factory=list)
    smooth_loss: float = float("inf")
    """Mean training loss of about the last 50 steps, nats per character."""
    best_smooth: float = float("inf")
    epoch_loss: float = 0.0
    epoch_steps: int = 0

    @property
    def parent(self) -> int | None:
        """The branch that this one goes on from; None for the first."""
        return self.lineage[-1][0] if self.lineage else None


def progress_of(facts: Mapping[str, Any]) -> Progress:
    """The progress in a snapshot's facts; floats may have come through JSON as strings."""
    values = dict(facts["progress"])
    values["lineage"] = [list(map(int, part)) for part in values["lineage"]]
    for name in ("smooth_loss", "best_smooth", "epoch_loss"):
        values[name] = float(values[name])
    return Progress(**values)


def knobs_of(facts: Mapping[str, Any]) -> Knobs:
    """The knobs in a snapshot's facts."""
    values = dict(facts["knobs"])
    return replace(Knobs(**values), temperature=tuple(values["temperature"]))


def on_lineage(progress: Progress, branch: int, step: int) -> bool:
    """Whether (branch, step) is in the past of where the run is."""
    if branch == progress.branch:
        return step <= progress.step
    return any(branch == b and step <= last for b, last in progress.lineage)
