"""Where futures begin: a checkpoint on disk, or a snapshot of a living run. Puts it into the folder of an arm."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuitrain.engine.progress import knobs_of, on_lineage, progress_of
from tuitrain.engine.snapshot import Snapshot
from tuitrain.errors import CheckpointError, RunError
from tuitrain.knobs import Knobs
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.codec import plain
from tuitrain.run import checkpoints, journal
from tuitrain.run.checkpoints import Checkpoint
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder, open_regular, write_all

REMEMBERED = 20_000
"""Steps before the point that the analyst of an arm knows of."""
OF_THE_PAST = (e.StepsDone, e.Evaluated, f.Measured, f.Probed)


@dataclass(frozen=True, slots=True)
class Point:
    """A restore point of the run in folder `run`: a committed checkpoint, or a snapshot with the values for one."""

    run: Path
    name: str
    branch: int
    step: int
    values: dict[str, Any]
    snapshot: Snapshot | None = None
    place: Path | None = None
    """The folder of its checkpoint, if it is not the run's own."""

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoint lies."""
        return self.place or RunDirectory(self.run).checkpoints

    @property
    def knobs(self) -> Knobs:
        """The knobs in force there."""
        return knobs_of(self.values)

    @property
    def bytes(self) -> int:
        """What a checkpoint of it takes on disk; 0 if its file is gone."""
        if self.snapshot is not None:
            return self.snapshot.bytes
        with suppress(OSError):
            return (self.checkpoints / f"{self.name}.safetensors").lstat().st_size
        return 0

    @property
    def healthy(self) -> bool:
        """Whether training had not broken by then."""
        return progress_of(self.values).healthy

    def put(self, folder: RunDirectory) -> None:
        """Make a folder a run that can be resumed from this point: configuration, text and one checkpoint.

        Files of a run are never written twice, so they are linked where the file system can. Raises TuitrainError.
        """
        source = RunDirectory(self.run)
        folder.create()
        with Folder(folder.path) as here:
            with open(open_regular(source.config, os.O_RDONLY), "rb") as config:
                here.replace(folder.config.name, config.read(), "config")
            if os.path.lexists(source.corpus):
                _linked(source.corpus, folder.corpus)
        if self.snapshot is not None:
            checkpoints.save(folder.checkpoints, self.snapshot.arrays(), branch=self.branch, step=self.step,
                             reason="point", pinned=True, values=plain(self.values),
                             run=str(source.read_config().get("run", "")))
            return
        try:
            for end in ("safetensors", "json"):
                _linked(self.checkpoints / f"{self.name}.{end}", folder.checkpoints / f"{self.name}.{end}")
        except FileNotFoundError:
            raise CheckpointError(f"{self.checkpoints / self.name} is gone; the run has newer ones") from None

    def put_all(self, folders: Sequence[RunDirectory]) -> "Point":
        """Put it into several folders, written once; return it as a point on disk. Raises TuitrainError."""
        point = self
        for folder in folders:
            point.put(folder)
            if point.snapshot is not None:
                [mark] = checkpoints.list_all(folder.checkpoints)
                point = replace(point, name=mark.name, snapshot=None, place=folder.checkpoints)
        return point

    def past(self) -> Iterable[e.Event]:
        """The steps and measurements that led here, as far as an analyst needs them, oldest first."""
        progress = progress_of(self.values)
        progress.branch, progress.step = self.branch, self.step
        with suppress(OSError, RunError):
            for event, _ in journal.read(RunDirectory(self.run).journal, kinds=OF_THE_PAST):
                last = e.step_of(event, 0)
                if isinstance(event, e.StepsDone):
                    last = event.first_step + len(event.loss) - 1
                elif isinstance(event, f.Measured):
                    last = event.first_step
                if self.step - REMEMBERED < last and on_lineage(progress, e.branch_of(event, 0), last):
                    yield event


def of_checkpoint(mark: Checkpoint, run: RunDirectory) -> Point:
    """A committed checkpoint as a point."""
    return Point(run.path, mark.name, mark.branch, mark.step, mark.values)


def newest(run: RunDirectory, at: int | None = None) -> Point:
    """The checkpoint written last; the newest at or before step `at`, if that is given. Raises CheckpointError."""
    kept = run.read_config()
    marks = checkpoints.list_all(run.checkpoints, str(kept.get("run", "")))
    fitting = [m for m in marks if at is None or m.step <= at]
    if not fitting:
        steps = ", ".join(f"{m.step:,}" for m in marks) or "none"
        where = "" if at is None else f" at or before step {at:,}"
        raise CheckpointError(f"{run.path} has no checkpoint{where}; there are: {steps}")
    key = checkpoints.written if at is None else lambda m: (m.step, checkpoints.written(m))
    return of_checkpoint(max(fitting, key=key), run)


def _linked(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        fd = open_regular(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with open(open_regular(source, os.O_RDONLY), "rb") as file:
                while block := file.read(1 << 20):
                    write_all(fd, block)
            os.fsync(fd)
        finally:
            os.close(fd)
