"""The interface of all readers: list the checkpoints of a folder, read one into named arrays and what is known of it.

Nothing is ever unpickled, and a file that cannot be read is one line, never the end of the others.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from tuitrain.errors import RunError

Arrays = Mapping[str, NDArray[Any]]
HEAD, TAIL = 4096, 8
"""Bytes of a file by whose content its format is told."""


class Unreadable(RunError):
    """A file that is damaged, or is of a kind that is not read; the message is what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One checkpoint of a folder; `step` is None until it is read where only the file itself has it."""

    name: str
    path: Path
    step: int | None
    size: int
    """Bytes, of all its files."""
    changed: int
    """Time of the last change, in nanoseconds: with name and size what a result is remembered by."""
    files: tuple[Path, ...] = ()
    token: Any = None
    """What the reader needs to read it."""

    @classmethod
    def of(cls, name: str, path: Path, step: int | None, files: "Sequence[File]", token: Any = None) -> "Entry":
        """A checkpoint that consists of these files."""
        return cls(name, path, step, sum(file.size for file in files), max(file.changed for file in files),
                   tuple(file.path for file in files), token)


@dataclass(frozen=True, slots=True)
class Adam:
    """The state of an Adam optimizer, its moments by the names of the arrays that they belong to."""

    first: Arrays
    second: Arrays
    steps: int
    betas: tuple[float, float] = (0.9, 0.999)
    lr: float | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a checkpoint. `facts` are what else the file says of itself, as far as it is plain data."""

    arrays: Arrays
    step: int | None = None
    adam: Adam | None = None
    vocabulary: str | None = None
    """The characters in the order of their numbers, where the file has them."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of the folder, with the bytes by which its format is told."""

    path: Path
    size: int
    changed: int
    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """The checkpoints of a folder in order, the reader that reads them, and remarks on whatever else is there."""

    reader: "Reader"
    entries: Sequence[Entry]
    remarks: Sequence[str]


class Reader(ABC):
    """A format. It does not know what the arrays mean."""

    title: ClassVar[str]
    """What a person calls it."""
    loss: ClassVar[str] = "all"
    """Which characters of a window count where nothing says how it was trained: all, or the last (`--loss`)."""
    bptt: ClassVar[int] = 64
    """Characters of such a window."""

    @abstractmethod
    def entries(self, files: Sequence[File]) -> tuple[list[Entry], list[str]]:
        """Return those of the files that are checkpoints of this format, and remarks on broken ones among them."""

    @abstractmethod
    def read(self, entry: Entry) -> Stored:
        """Return the content of a checkpoint. Raises Unreadable."""


def find(folder: Path, readers: Iterable[Reader]) -> Listing:
    """Return the checkpoints of a folder. Raises RunError if there are none, or it cannot be read."""
    files, remarks = look(folder)
    found, left = [], files
    for reader in readers:
        entries, words = reader.entries(left)
        found.append((reader, entries))
        remarks += words
        taken = {path for entry in entries for path in entry.files}
        left = [file for file in left if file.path not in taken]
    found.sort(key=lambda each: len(each[1]), reverse=True)
    reader, entries = found[0]
    if not entries:
        raise RunError(f"{folder} holds no checkpoints{_what_it_holds(folder, files, remarks)}")
    remarks += [f"{len(others)} of {other.title} are left out: most here are of {reader.title}"
                for other, others in found[1:] if others]
    return Listing(reader, in_order(entries), remarks)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return checkpoints by step; those that name none by the numbers in their names."""
    known = list(entries)
    if all(entry.step is not None for entry in known):
        return sorted(known, key=lambda entry: (entry.step or 0, natural(entry.name)))
    return sorted(known, key=lambda entry: natural(entry.name))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which `model-9` comes before `model-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d{1,18}|\D+|\d+", name)]


def number_in(name: str) -> int | None:
    """Return the last number in the name of a file, which is how most programs write the step or the epoch."""
    numbers = re.findall(r"(?<![\d.])\d{1,15}(?![\d.]*\d)", name)
    return int(numbers[-1]) if numbers else None


def look(folder: Path) -> tuple[list[File], list[str]]:
    """Return the regular files of a folder with their first and last bytes, and a remark on unreadable ones."""
    files, unreadable = [], []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror or error}; name a folder of checkpoints or a run") from None
    for path in paths:
        try:
            if not path.is_file():
                continue
            status = path.stat()
            with open(path, "rb") as file:
                head = file.read(HEAD)
                file.seek(max(0, status.st_size - TAIL))
                files.append(File(path, status.st_size, status.st_mtime_ns, head, file.read(TAIL)))
        except OSError as error:
            unreadable.append(f"{path.name}: {error.strerror or error}")
    remarks = unreadable[:3]
    if len(unreadable) > 3:
        remarks.append(f"{len(unreadable) - 3} more files cannot be opened")
    return files, remarks


def _what_it_holds(folder: Path, files: Sequence[File], remarks: Sequence[str]) -> str:
    if any(file.path.suffix == ".t7" for file in files):
        return ": the .t7 files of torch-rnn and char-rnn are not read; sample from them with what wrote them"
    if any(file.head.startswith(b"\x89HDF") for file in files):
        return ": Keras' HDF5 files are not read; save a state dict or a TensorFlow checkpoint instead"
    if remarks:
        return f" that can be read ({remarks[0]})"
    inner = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    if inner:
        return f"; name one of the folders in it ({', '.join(inner[:3])}{' …' if len(inner) > 3 else ''})"
    return "; name a run, or a folder of TensorFlow's or PyTorch's checkpoints"
