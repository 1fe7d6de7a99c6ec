"""Check every file of a run folder and move damaged ones into `set-aside/`; nothing is deleted.

Knows nothing about texts: the caller passes the function that checks the corpus.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuitrain.errors import CheckpointError, RunError, TuitrainError
from tuitrain.run import checkpoints, index, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder
from tuitrain.run.repair import ASIDE, aside, free_name

WHOLE: Final = "whole"
DAMAGED: Final = "damaged"
REMARK: Final = "remark"
"""Harmless: a file that is not ours, or something that readers skip."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its subject, its state (WHOLE, DAMAGED or REMARK) and the reason.

    `files` are the files, relative to the run folder, that a repair moves into `set-aside/`.
    """

    what: str
    state: str
    why: str = ""
    files: tuple[str, ...] = ()


def check(run: RunDirectory, check_text: Callable[[dict[str, object]], str]) -> Iterator[Finding]:
    """Yield a finding for everything in the run folder.

    `check_text` takes the configuration and returns a description of the text, or raises TuitrainError.
    """
    try:
        kept, sealed = run.read_sealed_config()
    except RunError as error:
        yield Finding("config.json", DAMAGED, str(error))
        kept, sealed = {}, True
    else:
        yield Finding("config.json", WHOLE, "" if sealed else "written by an older version, without a checksum")
    if kept:
        try:
            yield Finding(run.corpus.name, WHOLE, check_text(kept))
        except TuitrainError as error:
            yield Finding(run.corpus.name, DAMAGED, str(error))
    yield from _journal(run)
    yield from _checkpoints(run, str(kept.get("run", "")))


def _journal(run: RunDirectory) -> Iterator[Finding]:
    trouble = journal.Trouble()
    try:
        events = sum(1 for _ in journal.read(run.journal, trouble))
    except (OSError, RunError) as error:
        yield Finding(run.journal.name, DAMAGED, str(error))
        return
    if not os.path.lexists(run.journal):
        yield Finding(run.journal.name, DAMAGED, "it is missing: the history is lost, but the run can be resumed")
    elif trouble.damaged:
        yield Finding(run.journal.name, DAMAGED,
                      f"{trouble.damaged:,} damaged lines are skipped, {events:,} events are intact")
    else:
        yield Finding(run.journal.name, WHOLE, f"{events:,} events")
    if trouble.torn:
        yield Finding(run.journal.name, REMARK, f"its last line is incomplete ({trouble.torn:,} bytes); the next "
                                                "writer moves it to journal.torn")
    if os.path.lexists(run.index):
        fits = index.load(run).offset > 0
        yield Finding(run.index.name, WHOLE if fits else REMARK,
                      "" if fits else "it does not match the journal and will be rebuilt")


def _checkpoints(run: RunDirectory, id: str) -> Iterator[Finding]:
    try:
        marks, damaged = checkpoints.survey(run.checkpoints, id)
        with Folder(run.path) as here, Folder(Path(run.checkpoints.name), inside=here) as folder:
            names = set(folder.names())
    except (OSError, RunError) as error:
        yield Finding("checkpoints", DAMAGED, str(error))
        return
    known = set()
    for mark in marks:
        files = _files(mark.name, names)
        known |= {Path(file).name for file in files}
        try:
            checkpoints.load(run.checkpoints, mark)
        except CheckpointError as error:
            yield Finding(mark.name, DAMAGED, str(error), files)
        else:
            yield Finding(mark.name, WHOLE, f"branch {mark.branch}, step {mark.step:,}, {mark.reason}")
    for bad in damaged:
        files = _files(bad.name, names)
        known |= {Path(file).name for file in files}
        yield Finding(bad.name, DAMAGED, bad.why, files)
    for name in sorted(names - known):
        stem = name.removesuffix(".safetensors")
        if stem != name and checkpoints.NAME.fullmatch(stem):
            yield Finding(name, DAMAGED, "its commit mark is missing", (f"{run.checkpoints.name}/{name}",))
        else:
            yield Finding(name, REMARK, "not a checkpoint of this run; left alone")
    if not marks:
        yield Finding("checkpoints", DAMAGED if damaged else REMARK, "there is none to resume from")


def _files(name: str, names: set[str]) -> tuple[str, ...]:
    return tuple(f"checkpoints/{name}.{end}" for end in ("json", "safetensors") if f"{name}.{end}" in names)


def set_aside(run: RunDirectory, findings: list[Finding]) -> list[str]:
    """Move damaged files into `set-aside/` without overwriting anything there; the caller holds the lock.

    Returns their new paths, relative to the run folder. Raises OSError or RunError.
    """
    moved = []
    with Folder(run.path) as here:
        for file in [file for finding in findings if finding.state == DAMAGED for file in finding.files]:
            with aside(here) as place, Folder(Path(file).parent, inside=here) as source:
                free = free_name(place, Path(file).name)
                os.rename(Path(file).name, free, src_dir_fd=source.fd, dst_dir_fd=place.fd)
                place.sync()
                source.sync()
                moved.append(f"{ASIDE}/{free}")
    return moved
