"""Atomic, checksummed, pickle-free checkpoints and their retention. Knows nothing about what the tensors mean.

A checkpoint is `NAME.safetensors` and `NAME.json`. The JSON, its commit mark, is renamed into place last and holds the
sha256 of the tensors and a checksum of its own; without it there is no checkpoint. A committed checkpoint is never
overwritten: a second one of the same step gets another name.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors

from tuitrain.errors import CheckpointError, RunError
from tuitrain.protocol.events import BEST, EPOCH, INTERVAL
from tuitrain.run import failpoints, sealed
from tuitrain.run.folder import Folder

Tensors = Mapping[str, NDArray[Any]]
Place = Path | Folder
"""A folder of checkpoints, as a path or held open."""
MAX_MARK = 1 << 20
NAME = re.compile(r"b(0|[1-9]\d{0,8})-(\d{9,18})(?:-([2-9]|[1-9]\d{1,3}))?")
"""Branch, step, and a number from 2 on for further checkpoints of the same step."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
           "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a commit mark; `values` is the part of the run's state that is not tensors."""

    name: str
    branch: int
    step: int
    reason: str
    pinned: bool
    sha256: str
    params_sha256: str
    bytes: int
    values: dict[str, Any]
    """Under the key `facts` in the file."""
    run: str = ""
    """The id of its run; empty in marks of older versions, which have no checksum either."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A commit mark that cannot be used, and why; `step` is read from the file name."""

    name: str
    step: int
    why: str


def name_of(branch: int, step: int, number: int = 1) -> str:
    """Return the file stem of the checkpoint at (branch, step); `number` counts those of the same step from 1."""
    return f"b{branch}-{step:09d}" + (f"-{number}" if number > 1 else "")


def params_hash(tensors: Tensors) -> str:
    """Return the sha256 over the `model.` tensors in the order of their names: equal parameters, equal hash."""
    digest = hashlib.sha256()
    for name in sorted(n for n in tensors if n.startswith("model.")):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def save(place: Place, tensors: Tensors, *, branch: int, step: int, reason: str, pinned: bool, values: dict[str, Any],
         run: str = "", before_commit: Callable[[], None] | None = None, twin: Checkpoint | None = None) -> Checkpoint:
    """Write and commit a checkpoint. Raises OSError or RunError; older checkpoints stay valid in any case.

    `before_commit` makes durable what a checkpoint must not be ahead of; if it raises, nothing is committed. If the
    tensors equal those of `twin`, as when a step is both due and the best, its file is linked instead of rewritten.
    """
    with _opened(place) as folder:
        name = _free_name(folder, branch, step)
        tensors_part, mark_part = _part(f"{name}.safetensors", run), _part(f"{name}.json", run)
        digest = hashlib.sha256()
        ours = [tensors_part, mark_part]
        try:
            sha256 = _linked(folder, tensors, twin, tensors_part)
            if sha256 is None:
                folder.write(tensors_part, _hashed(serialized(tensors), digest.update), "tensors")
                sha256 = digest.hexdigest()
            mark = Checkpoint(name, branch, step, reason, pinned, sha256, params_hash(tensors),
                              folder.size(tensors_part), values, run)
            folder.write(mark_part, [sealed.dump(_body(mark))], "mark")
            failpoints.reached("journal-before-sync")
            if before_commit is not None:
                before_commit()
            failpoints.reached("journal-synced")
            folder.rename(tensors_part, f"{name}.safetensors")
            ours.append(f"{name}.safetensors")
            failpoints.reached("tensors-renamed")
            folder.sync()
            failpoints.reached("names-synced")
            folder.rename(mark_part, f"{name}.json")
        except BaseException:
            for made in ours:  # frees the space for the next attempt
                with contextlib.suppress(OSError):
                    folder.remove(made)
            raise
        failpoints.reached("mark-renamed")
        folder.sync()
        failpoints.reached("committed")
        return mark


def _linked(folder: Folder, tensors: Tensors, twin: Checkpoint | None, part: str) -> str | None:
    """Link the file of `twin` if it holds the same tensors; return its sha256, or None if nothing was linked."""
    if twin is None:
        return None
    digest = hashlib.sha256()
    for piece in serialized(tensors):
        digest.update(piece)
    if digest.hexdigest() != twin.sha256:
        return None
    try:
        folder.remove(part)
        folder.link(f"{twin.name}.safetensors", part)
    except OSError:  # pruned meanwhile, or a file system without hard links
        return None
    return twin.sha256


def serialized(tensors: Tensors) -> Iterator[bytes | memoryview]:
    """Yield the safetensors file of these arrays piece by piece, without copying them.

    The format is https://github.com/huggingface/safetensors#format. The library's `save_file` takes a path, not a
    descriptor, and when killed leaves temporary files whose names do not show whose they are.
    """
    header: dict[str, Any] = {}
    arrays, begin = [], 0
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [begin, begin + array.nbytes]}
        arrays.append(np.ascontiguousarray(array))
        begin += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for array in arrays:
        yield array.reshape(-1).view(np.uint8).data


def _hashed(pieces: Iterable[bytes | memoryview], update: Callable[[bytes | memoryview], None]
            ) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        update(piece)
        yield piece


def survey(place: Place, run: str = "") -> tuple[list[Checkpoint], list[Damage]]:
    """Return the committed checkpoints, by step and then branch, and the unusable marks. Raises RunError.

    Given the id of a `run`, marks of other runs count as damaged. Files with other names are ignored.
    """
    good, bad = [], []
    try:
        with _opened(place) as folder:
            for file in folder.names():
                match = NAME.fullmatch(file.removesuffix(".json"))
                if match is None or not file.endswith(".json"):
                    continue
                try:
                    good.append(_mark(folder, match, run))
                except (OSError, ValueError, RunError) as error:
                    bad.append(Damage(match[0], int(match[2]), f"{folder.path / file} is damaged: {error}"))
    except FileNotFoundError:
        return [], []
    return sorted(good, key=lambda c: (c.step, c.branch, written(c))), bad


def list_all(place: Place, run: str = "") -> list[Checkpoint]:
    """Return the committed checkpoints, by step and then branch; `survey` also returns the unusable marks."""
    return survey(place, run)[0]


def _body(mark: Checkpoint) -> dict[str, Any]:
    """Return the content of the file of a commit mark."""
    return {"facts" if name == "values" else name: value for name, value in asdict(mark).items()}


def _mark(folder: Folder, name: re.Match[str], run: str) -> Checkpoint:
    """Read a commit mark. Raises OSError, RunError or ValueError saying why it cannot be used."""
    body, has_checksum = sealed.parse(folder.read(f"{name[0]}.json", MAX_MARK), MAX_MARK)
    specs = {"facts" if spec.name == "values" else spec.name for spec in fields(Checkpoint)}
    unknown = body.keys() - specs
    if unknown:
        raise ValueError(f"it has the unknown key {min(unknown)}; a newer version wrote it")
    if specs - {"run"} - body.keys():
        raise ValueError(f"it has no {min(specs - {'run'} - body.keys())}")
    for key, value in body.items():
        kind = {"branch": int, "step": int, "bytes": int, "pinned": bool, "facts": dict}.get(key, str)
        if type(value) is not kind:
            raise ValueError(f"{key} is not {'an object' if kind is dict else kind.__name__}")
    body["values"] = body.pop("facts")
    mark = Checkpoint(**body)
    if mark.name != name[0]:
        raise ValueError(f"it names another file, {mark.name[:80]!r}")
    if (mark.branch, mark.step) != (int(name[1]), int(name[2])):
        raise ValueError(f"it says branch {mark.branch}, step {mark.step}")
    if not _SHA256.fullmatch(mark.sha256):
        raise ValueError("the checksum of its tensors is not a sha256")
    if type(mark.values.get("serial", 0)) is not int:
        raise ValueError("its serial number is not an integer")
    if mark.run and not has_checksum:
        raise ValueError("its checksum is missing")
    if run and mark.run != run:
        raise ValueError("it belongs to another run")
    return mark


def written(checkpoint: Checkpoint) -> int:
    """Return a checkpoint's serial number: step and branch give no order, as an undo returns to an old branch."""
    return int(checkpoint.values.get("serial", 0))


def load(place: Place, checkpoint: Checkpoint, most: int | None = None) -> dict[str, NDArray[Any]]:
    """Return the tensors after verifying their checksum.

    Raises CheckpointError, also if they have more than `most` bytes.
    """
    file_name = f"{checkpoint.name}.safetensors"
    path = (place.path if isinstance(place, Folder) else place) / file_name
    try:
        with _opened(place) as folder, open(folder.open(file_name), "rb") as file:
            size = folder.size(file_name)
            if size != checkpoint.bytes:
                raise CheckpointError(f"{path} is damaged: it has {size:,} bytes, not {checkpoint.bytes:,}")
            if most is not None and size > most:
                raise CheckpointError(f"{path} has {size:,} bytes, more than a checkpoint of this run can have")
            if hashlib.file_digest(file, "sha256").hexdigest() != checkpoint.sha256:
                raise CheckpointError(f"{path} is damaged: its checksum is not the one it was saved with")
            file.seek(0)
            return parse_tensors(file.read(checkpoint.bytes))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except (KeyError, ValueError, TypeError) as error:  # a dtype that numpy does not have
        raise CheckpointError(f"{path} holds tensors that no checkpoint can have: {error}") from None


def load_newest(place: Place, wanted: int | None = None, *, run: str = "", most: int | None = None
                ) -> tuple[Checkpoint, dict[str, NDArray[Any]], list[str]]:
    """Return the newest intact checkpoint (of step `wanted`, if given), its tensors, and what is wrong with others.

    The newest is the one written last. Raises CheckpointError if there is none.
    """
    marks, damaged = survey(place, run)
    candidates = sorted(marks, key=written, reverse=True)
    wrong = [f"{damage.why}" for damage in damaged if wanted in (None, damage.step)]
    if wanted is not None:
        candidates = [c for c in candidates if c.step == wanted]
        if not candidates and not wrong:
            steps = ", ".join(str(c.step) for c in marks) or "none"
            raise CheckpointError(f"there is no checkpoint of step {wanted}; there are: {steps}")
    for checkpoint in candidates:
        try:
            return checkpoint, load(place, checkpoint, most), wrong
        except CheckpointError as error:
            wrong.append(str(error))
    parent = (place.path if isinstance(place, Folder) else place).parent
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(f"{wrong[0]}{more}; `tuitrain verify {parent}` lists what is left")
    raise CheckpointError(f"{parent} ended before its first checkpoint; start again in another folder, or delete this "
                          "one")


def highest_branch(place: Place) -> int:
    """Return the highest branch that has any file, intact or not; -1 if there is none."""
    try:
        with _opened(place) as folder:
            names = folder.names()
    except FileNotFoundError:
        return -1
    found = (re.match(r"\.?b(0|[1-9]\d{0,8})-\d{9}", name) for name in names)
    return max((int(match[1]) for match in found if match), default=-1)


def clean(place: Place, run: str) -> list[str]:
    """Commit or remove what an interrupted save of this run left behind; the caller holds the lock. Returns remarks.

    Only files whose name holds the id of this run are touched. If only the rename of the mark was missing, the
    checkpoint is complete and is committed now. Tensors without a mark are left alone and reported.
    """
    remarks = []
    with contextlib.suppress(FileNotFoundError), _opened(place) as folder:
        if run:
            pattern = re.compile(rf"\.({NAME.pattern})\.(?:safetensors|json)\.{re.escape(run)}\.part")
            for part in folder.names():
                match = pattern.fullmatch(part)
                if match is not None and not (part.endswith(f".json.{run}.part")
                                              and _finished(folder, match[1], part, run)):
                    folder.remove(part)
        names = set(folder.names())
        for file in sorted(names):
            stem = file.removesuffix(".safetensors")
            if stem != file and NAME.fullmatch(stem) and f"{stem}.json" not in names:
                remarks.append(f"{folder.path / file} has lost its commit mark ({stem}.json) and is left alone")
    return remarks


def _finished(folder: Folder, name: str, part: str, run: str) -> bool:
    """Rename a finished mark into place beside its tensors; False if that is not possible."""
    if folder.has(f"{name}.json") or not folder.has(f"{name}.safetensors"):
        return False
    folder.rename(part, f"{name}.json")
    match = NAME.fullmatch(name)
    assert match is not None
    try:
        mark = _mark(folder, match, run)
        with open(folder.open(f"{name}.safetensors"), "rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == mark.sha256
    except (OSError, ValueError, RunError):
        whole = False
    if not whole:
        folder.rename(f"{name}.json", part)
    folder.sync()
    return whole


def delete(place: Place, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint, its commit mark first."""
    if not NAME.fullmatch(checkpoint.name):
        raise CheckpointError(f"{checkpoint.name[:80]!r} is not the name of a checkpoint")
    with _opened(place) as folder:
        failpoints.reached("pruning")
        folder.remove(f"{checkpoint.name}.json")
        failpoints.reached("pruned-mark")
        folder.remove(f"{checkpoint.name}.safetensors")
        failpoints.reached("pruned")


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[Folder]:
    """Yield the open folder, and close it again if it was opened here."""
    if isinstance(place, Folder):
        yield place
        return
    with Folder(place.parent) as parent, Folder(Path(place.name), inside=parent) as folder:
        yield folder


def _part(file: str, run: str) -> str:
    """Return the name of a file while it is being written: hidden, and marked with the id of its run."""
    return f".{file}.{run}.part"


def _free_name(folder: Folder, branch: int, step: int) -> str:
    number = 1
    while any(folder.has(f"{name_of(branch, step, number)}.{end}") for end in ("json", "safetensors")):
        number += 1
    return name_of(branch, step, number)


BETWEEN = 3
"""Checkpoints that stay of those between the ends of epochs."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Which checkpoints stay: the newest `last` (0: all), the pinned, the newest best, every `nth` periodic one.

    With `epochs` the ends of epochs were asked for, and what the clock adds between them only bounds what may be lost:
    of those the newest `BETWEEN` stay, even where all others do.
    """

    last: int
    nth: int = 10
    epochs: bool = False

    def expendable(self, all_of_them: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Return the checkpoints that may be pruned, never the newest."""
        points = sorted(all_of_them, key=written)
        if self.epochs:
            between = [c for c in points if c.reason == INTERVAL and not c.pinned]
            if self.last == 0:
                return [c for c in between[:-BETWEEN] if c is not points[-1]]
        elif self.last == 0:
            return []
        keep = {c.name for c in points[-self.last:]} | {c.name for c in points if c.pinned}
        best = [c for c in points if c.reason == BEST]
        keep |= {c.name for c in best[-1:]}
        periodic = EPOCH if self.epochs else INTERVAL
        keep |= {c.name for c in points if c.reason == periodic and written(c) % self.nth == 0}
        return [c for c in points if c.name not in keep]
