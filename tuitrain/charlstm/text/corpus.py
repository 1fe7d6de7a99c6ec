"""Reads a text file into vocabulary, train/validation split and ids. Knows nothing of batches or models."""

import codecs
import errno
import gzip
import hashlib
import json
import os
import re
import stat
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from tuitrain.errors import CorpusError, RunError, nearest
from tuitrain.run.folder import Folder, open_regular

MIN_CHARACTERS = 64
BOM = "\ufeff"
LARGEST_COPY = 64 << 20
"""Maximum characters of a text that is copied into the run folder."""
MOST_COPIED = 4 * LARGEST_COPY
"""Maximum bytes of that copy if the run does not state its size."""
BYTES_EACH = 10
"""Bytes of memory needed per byte of text while reading: the byte, its code point twice, its id."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids. `ids` are positions in `vocabulary`, which is sorted by code point."""

    name: str
    vocabulary: str
    ids: NDArray[np.uint32]
    split: int
    """Where the validation part begins, which extends to the end of the text."""
    sha256: str
    """Hash of the normalised text in UTF-8."""
    remarks: tuple[str, ...]
    entropy_rate: float | None = None
    """Bits per character that no model can beat, if the author of the text provides it."""

    @property
    def train(self) -> NDArray[np.uint32]:
        return self.ids[: self.split]

    @property
    def validation(self) -> NDArray[np.uint32]:
        return self.ids[self.split :]

    def text(self) -> str:
        """Return the normalised text."""
        return decode(self.ids, self.vocabulary)


def load(path: Path, *, encoding: str = "utf-8", errors: str = "strict", limit: int = 0,
         val: float = 0.1) -> Corpus:
    """Read, normalise and encode a text file. Raises CorpusError naming the file and the remedy."""
    raw, whole = _read(path, limit)
    remarks = []
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") and raw[:4] != b"\xff\xfe\x00\x00":
        encoding = "utf-16"
        remarks.append("decoded from UTF-16")
    try:
        text = codecs.getincrementaldecoder(encoding)(errors).decode(raw, final=whole)
    except LookupError:
        raise CorpusError(f"--encoding {encoding}: Python knows no encoding of that name") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: byte {error.start} is not {encoding}; name the encoding with --encoding "
                          "(latin-1, cp1252, utf-16 ...) or pass --errors replace") from None
    if "\0" in text and errors == "strict":
        raise CorpusError(f"{path}: character {text.index(chr(0)):,} is NUL, as in a binary file; pass --errors ignore "
                          "to train on it without them")
    text = text.replace("\0", "\ufffd" if errors == "replace" else "")
    if text.startswith(BOM):
        text = text[1:]
        remarks.append("byte order mark dropped")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        remarks.append("line ends normalised")
    if limit and len(text) > limit:
        text = text[:limit]
        remarks.append(f"only the first {limit:,} characters used")
    made = build(path.name, text, val, remarks)
    about = path.with_suffix(".json")
    return replace(made, entropy_rate=_rate(about, made.sha256) if about != path else None)


def build(name: str, text: str, val: float, remarks: list[str] | None = None) -> Corpus:
    """Build a Corpus from text in memory. Raises CorpusError if it is too short."""
    if not text:
        raise CorpusError(f"{name} is empty; give a text of at least {MIN_CHARACTERS} characters")
    if len(text) < MIN_CHARACTERS:
        raise CorpusError(f"{name} has {len(text)} characters; at least {MIN_CHARACTERS} are needed")
    points = _code_points(text)
    seen = np.flatnonzero(np.bincount(points))
    if len(seen) < 2:
        raise CorpusError(f"{name} repeats a single character; there is nothing to learn from it")
    table = np.zeros(int(seen[-1]) + 1, dtype=np.uint32)
    table[seen] = np.arange(len(seen), dtype=np.uint32)
    # Both parts need at least an input and a target.
    split = min(max(round(len(points) * (1 - val)), 2), len(points) - 2)
    return Corpus(name, "".join(map(chr, seen)), table[points], split,
                  hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), tuple(remarks or ()))


def encode(text: str, vocabulary: str) -> tuple[NDArray[np.uint32], str]:
    """Return the ids of the characters in the vocabulary, and the characters that are not in it."""
    known = {c: i for i, c in enumerate(vocabulary)}
    unknown = "".join(sorted(set(text) - known.keys()))
    return np.array([known[c] for c in text if c in known], dtype=np.uint32), unknown


def decode(ids: NDArray[np.uint32], vocabulary: str) -> str:
    """Return the text of ids."""
    return _code_points(vocabulary)[ids].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def check(path: Path, limit: int = 0) -> int:
    """Check a text file before reading it and return its size in bytes. Raises CorpusError naming the remedy."""
    if re.match(r"[a-z]+:/", str(path)):
        raise CorpusError(f"{path} is an address; download it first (`tuitrain fetch` knows some books)")
    try:
        status = path.stat()
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file{_near(path)}") from None
    except OSError as error:
        what = "a loop of symbolic links" if error.errno == errno.ELOOP else error.strerror
        raise CorpusError(f"{path}: {what}; give a text file") from None
    if stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{path} is a folder; {_texts(path)}")
    if not stat.S_ISREG(status.st_mode):
        raise CorpusError(f"{path} is not a regular file; give a text file")
    if not os.access(path, os.R_OK):
        raise CorpusError(f"{path} cannot be read: it belongs to {path.owner()}; ask for the right to read it, or "
                          "train on a copy")
    need, free = BYTES_EACH * min(status.st_size, 4 * limit or status.st_size), psutil.virtual_memory().available
    if need > free:
        raise CorpusError(f"{path} has {status.st_size / 1e9:.1f} GB, to read it takes about {need / 1e9:.0f} GB of "
                          f"memory and {free / 1e9:.0f} are free; train on its beginning with --limit "
                          f"{free // BYTES_EACH // 8}")
    return status.st_size


def _read(path: Path, limit: int) -> tuple[bytes, bool]:
    """Return the file, or enough of it for `limit` characters, and whether that is all of it."""
    size = check(path, limit)
    enough = 4 * limit + 4 if limit else size
    try:
        with open(path, "rb") as file:
            raw = file.read(enough)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from None
    if raw[:2] == b"\x1f\x8b":
        raise CorpusError(f"{path} is gzip-compressed; unpack it first (gunzip -k {path.name})")
    return raw, len(raw) == size


def _texts(folder: Path) -> str:
    """Return a hint naming the texts in a folder that was given instead of a file."""
    try:
        texts = sorted(p.name for p in folder.iterdir() if p.suffix in (".txt", ".md", ".text") and p.is_file())
    except OSError:
        texts = []
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return f"it holds {', '.join(texts[:5])}{more}: name one of them" if texts else "give a text file"


def _rate(path: Path, sha256: str) -> float | None:
    """Return the entropy rate from the JSON file beside a text, None if that is not about this text."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return float(about["entropy_rate"]) if about["sha256"] == sha256 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # it is about something else


def _near(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.is_file()]
    except OSError:
        return ""
    near = nearest(path.name, names)
    return f"; did you mean {path.parent / near}?" if near else ""


def save_copy(corpus: Corpus, path: Path) -> int:
    """Store the normalised text, compressed, so that a run folder can be copied without the original file.

    Returns the size of the text in UTF-8, once the copy is durable.
    """
    data = corpus.text().encode("utf-8", "surrogatepass")
    with Folder(path.parent) as folder:
        folder.replace(path.name, gzip.compress(data, compresslevel=6, mtime=0), "text")
    return len(data)


def load_copy(path: Path, name: str, val: float, size: int | None = None) -> Corpus:
    """Load the corpus from a run folder's copy, of `size` bytes when unpacked. Raises CorpusError if damaged."""
    most = MOST_COPIED if size is None else size
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise ValueError(f"it unpacks to more than the {most:,} bytes that the text can have")
        if size is not None and len(raw) != size:
            raise ValueError(f"it holds {len(raw):,} bytes of {size:,}")
        text = raw.decode("utf-8", "surrogatepass")
    except (OSError, EOFError, ValueError, zlib.error, RunError) as error:
        raise CorpusError(f"{path}: the run's copy of its text cannot be read ({error}); name the text that the run "
                          "began with by --corpus") from None
    return build(name, text, val)
