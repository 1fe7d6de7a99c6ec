"""Public-domain books by name: streamed, resumed, cleaned, and kept with a word on where they came from.

A download lies in `NAME.txt.download` until it is whole, beside the server's mark of the version it is of; the book
itself appears at once or not at all.
"""

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuitrain import __version__
from tuitrain.errors import TuitrainError, UsageError, nearest
from tuitrain.run.directory import write_atomically

GUTENBERG = "https://www.gutenberg.org"
TIMEOUT = 20.0
"""Seconds without a byte after which a server counts as stalled."""
TRIES = 3
LARGEST = 64 << 20
CHUNK = 1 << 16
STRAIGHT = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u00a0": " "})
"""Fewer characters to learn, and the same ones in every book."""
START = re.compile(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE | re.IGNORECASE)
END = re.compile(r"^(?:\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg).*$",
                 re.MULTILINE | re.IGNORECASE)
CLEANING = ("what comes before and after the book cut off, the licence too", "line ends normalised",
            "blanks at line ends dropped", "quotes straight, dashes as --")

Progress = Callable[[int, int | None], None]
"""Bytes that are there, bytes in all if the server says."""


@dataclass(frozen=True, slots=True)
class Book:
    """A book of Project Gutenberg. `begins` is its first line, which a table of contents may have before."""

    name: str
    number: int
    title: str
    author: str
    begins: str = ""
    sha256: str = ""
    """Of the cleaned text, where it is known."""


BOOKS = (
    Book("copperfield", 766, "David Copperfield", "Charles Dickens", "CHAPTER 1. I AM BORN",
         "82d6f3b02f03462a81b020502a6f331b1af2bb7fe3ddbf9a81688aca50529582"),
    Book("expectations", 1400, "Great Expectations", "Charles Dickens"),
    Book("pride", 1342, "Pride and Prejudice", "Jane Austen"),
    Book("middlemarch", 145, "Middlemarch", "George Eliot"),
    Book("moby-dick", 2701, "Moby-Dick; or, The Whale", "Herman Melville"),
    Book("frankenstein", 84, "Frankenstein", "Mary Shelley"),
    Book("holmes", 1661, "The Adventures of Sherlock Holmes", "Arthur Conan Doyle"),
    Book("alice", 11, "Alice's Adventures in Wonderland", "Lewis Carroll"),
)


class FetchError(TuitrainError):
    """A book that could not be fetched; what has come so far stays for the next try."""


def find(name: str) -> Book:
    """The book of that name, or of that number at Project Gutenberg. Raises UsageError naming the nearest."""
    if name.isdigit() and int(name):
        return next((b for b in BOOKS if b.number == int(name)), Book(name, int(name), f"book {name}", "unknown"))
    for book in BOOKS:
        if book.name == name.lower():
            return book
    near = nearest(name.lower(), [b.name for b in BOOKS], 0.5)
    raise UsageError(f"{name}: there is no book of that name; "
                     + (f"did you mean {near}?" if near else "`tuitrain fetch` lists them, and a number of "
                                                                "Project Gutenberg works too"))


def fetch(book: Book, path: Path, *, server: str = GUTENBERG, progress: Progress = lambda have, total: None,
          timeout: float = TIMEOUT, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """Write the cleaned book to `path` and its origin to the .json beside it; returns a warning or nothing.

    Raises FetchError in one line with the remedy.
    """
    url = f"{server.rstrip('/')}/cache/epub/{book.number}/pg{book.number}.txt"
    download = path.with_name(path.name + ".download")
    _download(url, download, progress, timeout)
    try:
        text = clean(download.read_bytes(), book)
    except FetchError:
        _forget(download)
        raise
    data = text.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    about = {"origin": url, "title": book.title, "author": book.author, "fetched": now().date().isoformat(),
             "rights": "public domain in the USA", "cleaning": list(CLEANING), "sha256": sha256}
    try:
        write_atomically(path, data)
        write_atomically(path.with_suffix(".json"), json.dumps(about, indent=1).encode() + b"\n")
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror or error}; make room or name another folder with --to") from None
    _forget(download)
    if book.sha256 and sha256 != book.sha256:
        return (f"{path} is not the edition that this version knows (sha256 {sha256[:12]}…, expected "
                f"{book.sha256[:12]}…); it is kept")
    return ""


def clean(raw: bytes, book: Book) -> str:
    """The book alone, after `CLEANING`. Raises FetchError if this is no whole text of Project Gutenberg."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(STRAIGHT)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    start = START.search(text)
    end = END.search(text, start.end()) if start else None
    if start is None or end is None:
        what = "its end is missing" if start else "a web page" if "<html" in text[:2000].lower() else "something else"
        raise FetchError(f"what the server sent is no whole text of Project Gutenberg ({what}); try again later, or "
                         "another server with --mirror")
    text = text[start.end() : end.start()]
    if book.begins:
        places = [m.start() for m in re.finditer(rf"^ *{re.escape(book.begins)}$", text, re.MULTILINE)]
        text = text[places[-1] :] if places else text
    return text.strip()


def _download(url: str, path: Path, progress: Progress, timeout: float) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            _stream(url, path, progress, timeout)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and attempt < TRIES:
                _forget(path)  # what lies here is longer than what the server has
                continue
            raise FetchError(f"{url}: the server answers {error.code} {error.reason}; try another one with "
                             "--mirror") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, EOFError) as error:
            if attempt == TRIES:
                have = path.stat().st_size if path.exists() else 0
                remedy = f"{have:,} bytes are kept, the same command goes on from there" if have else "try again later"
                raise FetchError(f"{url}: {_reason(error)}; {remedy}") from None
        except OSError as error:
            raise FetchError(f"{path}: {error.strerror or error}; make room or name another folder with "
                             "--to") from None


def _stream(url: str, path: Path, progress: Progress, timeout: float) -> None:
    """One connection: goes on where the last one broke off, if the server still has the same version."""
    have, version = _state(path)
    headers = {"User-Agent": f"tuitrain/{__version__}"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        _mark(path).write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        with open(path, "ab" if goes_on else "wb") as file:
            while chunk := answer.read1(CHUNK):
                have += len(chunk)
                if have > LARGEST:
                    raise FetchError(f"{url} is larger than {LARGEST >> 20} MB: no book is")
                file.write(chunk)
                progress(have, total)
    if total is not None and have < total:
        raise EOFError(f"the connection ended after {have:,} of {total:,} bytes")


def _state(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_size, _mark(path).read_text()
    except OSError:
        return 0, ""


def _mark(path: Path) -> Path:
    return path.with_name(path.name + "-version")


def _forget(path: Path) -> None:
    for file in (path, _mark(path)):
        file.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "the server says nothing more"
    return getattr(reason, "strerror", "") or str(reason) or type(reason).__name__
