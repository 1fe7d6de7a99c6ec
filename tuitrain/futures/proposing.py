"""Which arms a race has when nothing was named: from the norms that the restore point carries."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.diagnosis import arms
from tuitrain.diagnosis.clip_advisor import ClipAdvice, advise
from tuitrain.futures.points import Point
from tuitrain.run import checkpoints
from tuitrain.run.directory import RunDirectory

NORMS = "diagnosis.norms"
"""The tensor of a checkpoint with the newest gradient norms."""


def proposed(point: Point) -> list[arms.Arm]:
    """The arms worth a try from a point."""
    return arms.proposed(advice(point), point.knobs)


def advice(point: Point) -> ClipAdvice | None:
    """What the norms before a point advise for the clip; None if there are too few. Raises TuitrainError."""
    config: Mapping[str, Any] = RunDirectory(point.run).read_config().get("config", {})
    if config.get("clip_kind") == "element":
        return None
    betas = config.get("betas", (0.9, 0.999))
    return advise(norms(point), point.knobs.clip, str(config.get("optimizer", "adam")),
                  (float(betas[0]), float(betas[1])))


def norms(point: Point) -> NDArray[np.float64]:
    """The newest gradient norms before a point, oldest first. Raises CheckpointError."""
    if point.snapshot is not None:
        return point.snapshot.arrays()[NORMS].astype(float)
    run = RunDirectory(point.run)
    mark = next(m for m in checkpoints.list_all(run.checkpoints) if m.name == point.name)
    return np.asarray(checkpoints.load(run.checkpoints, mark).get(NORMS, np.empty(0)), dtype=float)
