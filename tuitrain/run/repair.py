"""Puts a damaged file back from what else a run holds. The damaged one is kept in `set-aside/`; nothing is deleted.

Knows nothing about texts: what a text is rebuilt from is found by charlstm/repair.py.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from tuitrain.errors import RunError
from tuitrain.protocol import codec
from tuitrain.protocol.codec import DamagedLine, unseal
from tuitrain.protocol.events import RunResumed, RunStarted
from tuitrain.protocol.facts import RunFacts
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory, new_id
from tuitrain.run.folder import PRIVATE_FOLDER, Folder

ASIDE = "set-aside"
_OWN = ("config", "vocabulary", "facts")
"""Fields of a RunStarted that are not of its environment."""


def config_of(run: RunDirectory, text: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return the content of config.json, from the journal's first opening event and the ids in the checkpoints.

    `text` takes it without the text's checksum and returns what is to be added. Raises RunError if there is no such
    event or no text.
    """
    opening = next((event for event, _ in journal.read(run.journal, kinds=(RunStarted, RunResumed))
                    if isinstance(event, RunStarted | RunResumed)), None)
    if opening is None:
        raise RunError("it cannot be rebuilt: the journal does not have the event that the run began with")
    facts = RunFacts.of(opening.facts)
    environment = {spec.name: getattr(opening, spec.name) for spec in fields(RunStarted)
                   if spec.name not in _OWN and getattr(opening, spec.name) != spec.default}
    ids = [mark.run for mark in checkpoints.survey(run.checkpoints, "")[0] if mark.run]
    body = {"v": codec.VERSION, "run": max(set(ids), key=ids.count) if ids else new_id(),
            "config": dict(opening.config), "vocabulary": opening.vocabulary, "corpus_name": facts.corpus,
            "levels": dict(facts.levels), **codec.plain(environment)}
    return {**body, **text(body)}


def put_back(run: RunDirectory, name: str, write: Callable[[], object]) -> str:
    """Keep a damaged file in `set-aside/` and let `write` replace it; returns the new path of the damaged one.

    At no moment is there neither of them. Raises OSError or RunError.
    """
    kept = ""
    with Folder(run.path) as here:
        if here.has(name):
            with aside(here) as place:
                free = free_name(place, name)
                os.link(name, free, src_dir_fd=here.fd, dst_dir_fd=place.fd, follow_symlinks=False)
                place.sync()
                kept = f"{ASIDE}/{free}"
    write()
    return kept


def rewrite_journal(run: RunDirectory) -> int:
    """Replace the journal by its intact lines; returns how many those are."""
    count = 0

    def intact() -> Iterator[bytes]:
        nonlocal count
        for line in journal.lines(run.journal, journal.Trouble()):
            try:
                unseal(line)
            except DamagedLine:
                continue
            count += 1
            yield line + b"\n"

    with Folder(run.path) as here:
        part = f".{run.journal.name}.part"
        here.write(part, intact(), "journal")
        here.rename(part, run.journal.name)
        here.sync()
    return count


@contextmanager
def aside(here: Folder) -> Iterator[Folder]:
    """Open the folder `set-aside` of a run, made if there is none."""
    if not here.has(ASIDE):
        os.mkdir(ASIDE, PRIVATE_FOLDER, dir_fd=here.fd)
    with Folder(Path(ASIDE), inside=here) as place:
        yield place


def free_name(place: Folder, name: str) -> str:
    """Return the name, with a number if it is taken."""
    number, free = 1, name
    while place.has(free):
        number += 1
        free = f"{name}.{number}"
    return free
