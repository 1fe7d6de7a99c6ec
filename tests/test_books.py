"""Fetching from a server of our own: whole, broken off, stalled, lying, missing; never the wrong file, never half."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tuitrain import books
from tuitrain.books import Book, FetchError, clean, fetch, find
from tuitrain.charlstm.text import corpus
from tuitrain.cli.main import main
from tuitrain.errors import UsageError

REAL = Path(__file__).resolve().parents[2] / "shared" / "corpora" / "copperfield.txt"
BOOK = Book("tale", 7, "A Tale", "Nobody", "CHAPTER 1. THE BELL")
BODY = "CHAPTER 1. THE BELL\n\n" + 'The bell rang. "Late," she said--"too late."\n' * 3000


def packed(body: str, contents: str = "CHAPTER 1. THE BELL\nCHAPTER 2. NOBODY\n\n") -> bytes:
    text = ("The Project Gutenberg eBook\n\nlicence\n\n*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n"
            f"A TALE\n\n{contents}{body}\n\n\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\nmore licence\n")
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request with the next of `answers`, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.ranges: list[str | None] = []
        self.done = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                outer.path = self.path
                outer.answers[min(len(outer.ranges), len(outer.answers)) - 1](self)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()

    def close(self) -> None:
        self.done.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def send(data: bytes, *, upto: int | None = None, says: int | None = None, version: str = '"1"',
         hold: threading.Event | None = None, kind: str = "text/plain") -> Answer:
    """The file, ranges heeded; at most `upto` bytes of it, saying it has `says`; then silence until `hold`."""
    def answer(request: BaseHTTPRequestHandler) -> None:
        begin = 0
        asked = re.match(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if asked and request.headers.get("If-Range") == version:
            begin = int(asked[1])
            if begin >= len(data):
                request.send_error(416)
                return
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Type", kind)
        request.send_header("ETag", version)
        request.send_header("Content-Length", str(says if says is not None else len(data) - begin))
        request.end_headers()
        request.wfile.write(data[begin:upto])
        request.wfile.flush()
        if hold is not None:
            hold.wait(30)
    return answer


def test_a_whole_book_is_cleaned_and_says_where_it_is_from(server: Server, tmp_path: Path) -> None:
    server.answers = [send(packed(BODY.replace('"Late', "\u201cLate").replace("--", "\u2014")))]
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "tale.txt"
    assert fetch(BOOK, path, server=server.url, progress=lambda *n: seen.append(n),
                 now=lambda: datetime(2026, 1, 2, tzinfo=UTC)) == ""
    assert path.read_text() == BODY.strip() and server.path == "/cache/epub/7/pg7.txt"
    about = json.loads((tmp_path / "tale.json").read_text())
    assert about["origin"].startswith(server.url) and about["fetched"] == "2026-01-02"
    assert about["sha256"] == corpus.load(path).sha256, "a run of this text names the same hash"
    assert seen[-1][0] == seen[-1][1] and sorted(p.name for p in tmp_path.iterdir()) == ["tale.json", "tale.txt"]


def test_what_broke_off_goes_on_from_there(server: Server, tmp_path: Path) -> None:
    data = packed(BODY)
    server.answers = [send(data, upto=40_000), send(data)]
    fetch(BOOK, tmp_path / "tale.txt", server=server.url)
    assert server.ranges == [None, "bytes=40000-"] and (tmp_path / "tale.txt").read_text() == BODY.strip()


def test_a_stalled_server_is_left_and_the_next_try_goes_on(server: Server, tmp_path: Path) -> None:
    data, path = packed(BODY), tmp_path / "tale.txt"
    server.answers = [send(data, upto=30_000, hold=server.done)]
    with pytest.raises(FetchError, match=r"says nothing more; 30,000 bytes are kept"):
        fetch(BOOK, path, server=server.url, timeout=0.2)
    assert not path.exists()
    server.answers = [send(data)]
    fetch(BOOK, path, server=server.url)
    assert server.ranges[-1] == "bytes=30000-" and path.read_text() == BODY.strip()


def test_another_version_on_the_server_begins_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [send(packed("x" * 90_000), upto=50_000), send(packed(BODY), version='"2"')]
    fetch(BOOK, tmp_path / "tale.txt", server=server.url)
    assert (tmp_path / "tale.txt").read_text() == BODY.strip()


def test_a_download_longer_than_the_file_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tale.txt.download").write_bytes(b"?" * 900_000)
    (tmp_path / "tale.txt.download-version").write_text('"1"')
    server.answers = [send(packed(BODY))]
    fetch(BOOK, tmp_path / "tale.txt", server=server.url)
    assert server.ranges == ["bytes=900000-", None] and (tmp_path / "tale.txt").read_text() == BODY.strip()


def test_a_server_that_lies_about_the_length(server: Server, tmp_path: Path) -> None:
    data, path = packed(BODY), tmp_path / "tale.txt"
    server.answers = [send(data, says=2 * len(data))]
    with pytest.raises(FetchError, match=f"{len(data):,} bytes are kept"):
        fetch(BOOK, path, server=server.url)
    (tmp_path / "tale.txt.download").unlink()
    server.answers = [send(data, says=60_000)]
    with pytest.raises(FetchError, match="its end is missing"):
        fetch(BOOK, path, server=server.url)
    assert not path.exists() and not list(tmp_path.glob("*.download")), "half a book is no start for the next try"


def _missing(request: BaseHTTPRequestHandler) -> None:
    page = b"<html><body>no such book</body></html>"
    request.send_response(404)
    request.send_header("Content-Length", str(len(page)))
    request.end_headers()
    request.wfile.write(page)


def test_a_page_instead_of_a_book(server: Server, tmp_path: Path) -> None:
    server.answers = [_missing]
    with pytest.raises(FetchError, match="answers 404"):
        fetch(BOOK, tmp_path / "tale.txt", server=server.url)
    server.answers = [send(b"<!doctype html><html>busy</html>", kind="text/html")]
    with pytest.raises(FetchError, match="a web page"):
        fetch(BOOK, tmp_path / "tale.txt", server=server.url)
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.close()
    with pytest.raises(FetchError, match="refused"):
        fetch(BOOK, tmp_path / "tale.txt", server=url)


def test_another_edition_warns_and_is_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    server.answers = [send(packed(BODY))]
    assert main(["fetch", "copperfield", "--mirror", server.url]) == 0
    told = capsys.readouterr()
    assert told.out == "copperfield.txt\n" and "not the edition" in told.err and told.err.count("\n") == 1
    assert server.path.endswith("/pg766.txt") and (tmp_path / "copperfield.txt").exists()
    assert main(["fetch", "copperfield", "--mirror", server.url]) == 0
    assert "exists already" in capsys.readouterr().err


@pytest.mark.skipif(not REAL.exists(), reason="the real book is read from outside the project and is not here")
def test_our_cleaning_of_the_real_book_has_the_hash_we_expect(server: Server, tmp_path: Path) -> None:
    server.answers = [send(packed(REAL.read_text() + "\n", contents="CHAPTER 1. I AM BORN\nCHAPTER 2. I OBSERVE\n\n"))]
    assert fetch(find("copperfield"), tmp_path / "copperfield.txt", server=server.url) == ""
    assert (tmp_path / "copperfield.txt").read_bytes() == REAL.read_bytes()


def test_names_numbers_and_the_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert find("766").name == "copperfield" and find("12").number == 12
    with pytest.raises(UsageError, match="did you mean copperfield"):
        find("coperfield")
    assert main(["fetch"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{b.number}" in listed and b.title in listed for b in books.BOOKS)
    assert main(["fetch", "alice", "--to", str(tmp_path / "nowhere")]) == 2


def test_older_marks_and_encodings_are_known() -> None:
    old = ("*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n  \nCaf\xe9.  \n\n"
           "End of the Project Gutenberg EBook of A Tale\n").encode("latin-1")
    assert clean(old, Book("a", 1, "A", "B")) == "Caf\xe9."
