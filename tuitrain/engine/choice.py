"""Chooses the restore point for a rollback, in memory or on disk. Knows no knobs."""

from typing import NamedTuple

import torch

from tuitrain.engine.progress import on_lineage, progress_of
from tuitrain.engine.restore_points import MemoryPoint, RestorePoints
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steered import Steered
from tuitrain.errors import CheckpointError, Refused
from tuitrain.protocol import commands as c
from tuitrain.run import checkpoints
from tuitrain.run.folder import Folder

GOOD_AGE = 100
"""Minimum age in steps of the last good point."""


class Restorable(NamedTuple):
    """A point that a rollback can restore, ordered by step, then branch; a point in memory beats its copy on disk."""

    step: int
    branch: int
    in_memory: bool
    name: str


class PointFinder:
    """Finds restore points in memory and on disk, and loads them. Raises Refused if there is none."""

    def __init__(self, machine: Steered, points: RestorePoints, place: Folder, run: str) -> None:
        """`place` holds the checkpoints of the run with the id `run`; those of other runs are ignored."""
        self._machine, self._points, self._place, self._run = machine, points, place, run

    def newest_before(self, step: int) -> Snapshot | None:
        """Return the newest snapshot in memory before a step, None if there is none."""
        point = self.in_memory(step - 1)
        return None if point is None else point.snapshot

    def in_memory(self, step: int) -> MemoryPoint | None:
        """Return the newest point in memory at or before a step of the current lineage, None if there is none."""
        progress = self._machine.progress
        return max((p for p in self._points if p.snapshot.step <= step
                    and on_lineage(progress, p.snapshot.branch, p.snapshot.step)),
                   key=lambda p: p.snapshot.step, default=None)

    def restorable(self) -> list[Restorable]:
        """Return every point in memory and on disk."""
        memory = [Restorable(p.snapshot.step, p.snapshot.branch, True, p.name) for p in self._points]
        disk = [Restorable(k.step, k.branch, False, k.name) for k in self._on_disk()]
        return memory + disk

    def chosen(self, command: c.Rollback) -> tuple[Snapshot, str]:
        """Return the snapshot to which a rollback leads, and its name. Raises Refused."""
        progress = self._machine.progress
        points = self.restorable()
        if command.point:
            named = [p for p in points if p.name == command.point]
            if not named:
                raise Refused(f"there is no restore point called {command.point}")
            if command.healthy and not self._is_good(named[0]):
                raise Refused(f"training had broken already at restore point {command.point}, step {named[0].step:,}")
            return self.fetch(named[0]), command.point
        mine = [p for p in points if on_lineage(progress, p.branch, p.step)]
        if command.to is not None:
            fitting = [p for p in mine if p.step <= command.to]
            if command.to < 0 or command.to > progress.step:
                raise Refused(f"step {command.to:,} is not in the past; the run is at step {progress.step:,}")
            if command.healthy:
                good = [p for p in mine if self._is_good(p)]
                # Where none is so old, as early in a watched loop, the oldest is nearest to what is wanted.
                fitting = [p for p in good if p.step <= command.to] or ([min(good)] if good else [])
                if not fitting:
                    raise Refused("training had broken already at every restore point")
            if not fitting:
                first = min((p.step for p in mine), default=None)
                raise Refused(f"no restore point at or before step {command.to:,}; the first is at {first}")
        else:
            fitting = [p for p in mine if p.step <= progress.step - GOOD_AGE and self._is_good(p)]
            if not fitting:
                raise Refused(f"no good restore point is {GOOD_AGE} steps old yet; name a step to roll back to one")
        best = max(fitting)
        return self.fetch(best), best.name

    def _is_good(self, point: Restorable) -> bool:
        kept = self._points.get(point.name)
        if kept is not None:
            values = kept.snapshot.values
        else:
            values = next((k.values for k in self._on_disk() if k.name == point.name), {})
        return bool(values) and progress_of(values).healthy

    def fetch(self, point: Restorable) -> Snapshot:
        """Return the snapshot of a point. Raises Refused."""
        kept = self._points.get(point.name)
        if kept is not None:
            return kept.snapshot
        for mark in self._on_disk():
            if mark.name == point.name:
                try:
                    return snapshot_of(mark, checkpoints.load(self._place, mark))
                except CheckpointError as error:
                    raise Refused(str(error)) from None
        raise Refused(f"restore point {point.name} is gone")

    def _on_disk(self) -> list[checkpoints.Checkpoint]:
        try:
            return checkpoints.list_all(self._place, self._run)
        except OSError:  # the disk cannot be read now; points in memory remain
            return []


def snapshot_of(mark: checkpoints.Checkpoint, tensors: checkpoints.Tensors) -> Snapshot:
    """Return a checkpoint from disk as a snapshot."""
    return Snapshot(mark.branch, mark.step, {name: torch.from_numpy(t) for name, t in tensors.items()}, mark.values)
