"""Atomic, checksummed, pickle-free checkpoints, and which of them to keep. Knows nothing of what the tensors mean.

A checkpoint is `NAME.safetensors` and `NAME.json`. The JSON is written last and holds the sha256 of the tensors: it
is the commit mark. Without it there is no checkpoint.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tuitrain.errors import CheckpointError
from tuitrain.run import failpoints
from tuitrain.run.directory import sync_folder, write_atomically

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the commit mark says; `facts` is the part of the run's state that is no tensor."""

    name: str
    branch: int
    step: int
    reason: str
    pinned: bool
    sha256: str
    params_sha256: str
    bytes: int
    facts: dict[str, Any]


def name_of(branch: int, step: int) -> str:
    """The file stem of the checkpoint at (branch, step)."""
    return f"b{branch}-{step:09d}"


def params_hash(tensors: Tensors) -> str:
    """sha256 over the `model.` tensors in the order of their names; equal parameters, equal hash."""
    digest = hashlib.sha256()
    for name in sorted(n for n in tensors if n.startswith("model.")):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def save(folder: Path, tensors: Tensors, *, branch: int, step: int, reason: str, pinned: bool,
         facts: dict[str, Any]) -> Checkpoint:
    """Write and commit. Raises OSError or SafetensorError; whatever happens, older checkpoints stay valid."""
    name = name_of(branch, step)
    part, final = folder / f"{name}.safetensors.part", folder / f"{name}.safetensors"
    failpoints.reached("tensors-open")
    save_file(dict(tensors), part)
    failpoints.reached("tensors-written")
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    failpoints.reached("tensors-synced")
    part.replace(final)
    failpoints.reached("tensors-renamed")
    sync_folder(folder)
    mark = Checkpoint(name, branch, step, reason, pinned, digest, params_hash(tensors), final.stat().st_size, facts)
    write_atomically(folder / f"{name}.json", json.dumps(asdict(mark)).encode())
    failpoints.reached("committed")
    return mark


def list_all(folder: Path) -> list[Checkpoint]:
    """The committed checkpoints, by step and then branch; unreadable marks are passed over."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(Checkpoint(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda c: (c.step, c.branch))


def written(checkpoint: Checkpoint) -> int:
    """The serial number of a checkpoint: steps and branches do not order them, an undo returns to an old branch."""
    return int(checkpoint.facts.get("serial", 0))


def load(folder: Path, checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    """The tensors, their checksum verified. Raises CheckpointError."""
    path = folder / f"{checkpoint.name}.safetensors"
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != checkpoint.sha256:
            raise CheckpointError(f"{path} is damaged: its checksum is not the one it was saved with")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def load_newest(folder: Path, wanted: int | None = None) -> tuple[Checkpoint, dict[str, NDArray[Any]], list[str]]:
    """The newest whole checkpoint (of step `wanted`, if given), its tensors, and what was wrong with newer ones.

    Newest is the one written last. Raises CheckpointError if there is none.
    """
    candidates = sorted(list_all(folder), key=written, reverse=True)
    if wanted is not None:
        candidates = [c for c in candidates if c.step == wanted]
        if not candidates:
            steps = ", ".join(str(c.step) for c in list_all(folder)) or "none"
            raise CheckpointError(f"there is no checkpoint of step {wanted}; there are: {steps}")
    wrong: list[str] = []
    for checkpoint in candidates:
        try:
            return checkpoint, load(folder, checkpoint), wrong
        except CheckpointError as error:
            wrong.append(str(error))
    raise CheckpointError(wrong[0] if wrong else f"{folder.parent} ended before its first checkpoint; start anew in "
                                                 "another folder, or delete this one")


def clean(folder: Path) -> None:
    """Remove the unfinished parts of saves that died; the caller holds the lock.

    Only files this module writes under these names are touched: parts, and tensors without a commit mark.
    """
    for path in folder.glob("b*-*"):
        unfinished = path.name.endswith(".part")
        unmarked = path.suffix == ".safetensors" and not path.with_suffix(".json").exists()
        if unfinished or unmarked:
            path.unlink(missing_ok=True)
    for path in folder.glob(".tmp??????"):  # safetensors' own temporary files
        path.unlink(missing_ok=True)


def delete(folder: Path, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint, its commit mark first."""
    (folder / f"{checkpoint.name}.json").unlink(missing_ok=True)
    failpoints.reached("pruned-mark")
    (folder / f"{checkpoint.name}.safetensors").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Retention:
    """Which checkpoints stay: the newest `last` (0: all), the pinned, the newest best, and each `nth` periodic one."""

    last: int
    nth: int = 10

    def expendable(self, all_of_them: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Those that may go. Never the newest."""
        points = sorted(all_of_them, key=written)
        if self.last == 0:
            return []
        keep = {c.name for c in points[-self.last:]} | {c.name for c in points if c.pinned}
        best = [c for c in points if c.reason == "best"]
        keep |= {c.name for c in best[-1:]}
        keep |= {c.name for c in points if c.reason == "interval" and written(c) % self.nth == 0}
        return [c for c in points if c.name not in keep]
