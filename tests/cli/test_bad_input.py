"""What cannot be meant: one line that names the thing and the remedy, the right exit code, nothing written."""

import errno
import gzip
import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tuitrain.charlstm.text import corpus
from tuitrain.cli.main import main
from tuitrain.errors import CorpusError
from tuitrain.run.directory import RunDirectory

TEXT = "the bell rang twice, and nobody came. " * 40
SMALL = ["--no-ui", "--steps", "3", "--hidden", "8", "--layers", "1", "--run", "run"]


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _folder(folder: Path) -> None:
    (folder / "books").mkdir()
    (folder / "books" / "tale.txt").write_text(TEXT)


TEXTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("taile.txt", _write("tale.txt", TEXT.encode()), "no such file; did you mean tale.txt?"),
    ("books", _folder, "is a folder; it holds tale.txt: name one of them"),
    ("empty.txt", _write("empty.txt", b""), "is empty; give a text of at least 64"),
    ("one.txt", _write("one.txt", b"x"), "at least 64 are needed"),
    ("same.txt", _write("same.txt", b"a" * 900), "repeats a single character"),
    ("lines.txt", _write("lines.txt", b"\n" * 900), "repeats a single character"),
    ("short.txt", _write("short.txt", b"the bell rang"), "has 13 characters; at least 64"),
    ("bytes.txt", _write("bytes.txt", TEXT.encode() + b"\xff\xfe"), f"byte {len(TEXT)} is not utf-8; name the"),
    ("nul.txt", _write("nul.txt", TEXT.encode() + b"\0"), f"character {len(TEXT):,} is NUL, as in a binary file"),
    ("a.gz", _write("a.gz", gzip.compress(TEXT.encode())), "gunzip -k a.gz"),
    ("/dev/zero", lambda folder: None, "not a regular file"),
    ("pipe", lambda folder: os.mkfifo(folder / "pipe"), "not a regular file"),
    ("loop", lambda folder: (folder / "loop").symlink_to("loop"), "a loop of symbolic links"),
    ("https://example.org/a.txt", lambda folder: None, "is an address; download it first"),
    ("esc\x1b[31m.txt", lambda folder: None, "esc�[31m.txt: no such file"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    # What a start is doing is said meanwhile, in lines that end in an ellipsis; the complaint is one line, the last.
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(" …")]
    assert len(lines) == 1 and lines[0].startswith("tuitrain: ") and "Traceback" not in lines[0]
    return code, lines[0] + "\n"


@pytest.mark.parametrize(("name", "make", "said"), TEXTS, ids=[name for name, *_ in TEXTS])
def test_a_text_that_cannot_be_trained_on(name: str, make: Callable[[Path], object], said: str, here: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    make(here)
    before = sorted(here.iterdir())
    code, err = complaint([name, *SMALL], capsys)
    assert code == 2 and said in err and sorted(here.iterdir()) == before


def test_a_text_of_somebody_else(here: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.txt").write_text(TEXT)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root, as tests may be, reads everything
    code, err = complaint(["mine.txt", *SMALL], capsys)
    assert code == 2 and "belongs to" in err


def test_a_text_larger_than_memory_is_told_before_it_is_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open("huge.txt", "wb") as file:
        file.truncate(psutil.virtual_memory().total)  # a hole: takes no room
    code, err = complaint(["huge.txt", *SMALL], capsys)
    assert code == 2 and "GB of memory" in err and "--limit" in err
    with pytest.raises(CorpusError, match="NUL"):
        corpus.load(Path("huge.txt"), limit=500)


def test_what_is_odd_but_can_be_read(here: Path) -> None:
    Path("u16.txt").write_bytes(TEXT.encode("utf-16"))
    Path("bom.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.replace(". ", ".\r\n").encode())
    Path("cut.txt").write_text("é" * 50 + "a" * 500)
    assert corpus.load(Path("u16.txt")).text() == TEXT and corpus.load(Path("u16.txt")).remarks
    assert corpus.load(Path("bom.txt")).text() == TEXT.replace(". ", ".\n")
    assert len(corpus.load(Path("cut.txt"), limit=70).ids) == 70
    assert corpus.load(Path("u16.txt"), limit=100).text() == TEXT[:100]


Memory = namedtuple("Memory", "available")


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--hidden", "16384", "--layers", "32"], 2, "68,7"), (["--device", "cuda"], 2, "a CPU build; use --device cpu"),
    (["--stride", "3", "--loss", "all"], 2, "--loss last"), (["--hidden", "0"], 2, "from 1 to 16384"),
    (["--hiden", "9"], 2, "did you mean --hidden"), (["another.txt"], 2, "unexpected argument"),
    (["--encoding", "klingon"], 2, "no encoding of that name"), (["--threads", "many"], 2, "or auto"),
    (["--run", "ok.txt"], 1, "name another folder with --run")])
def test_options_that_cannot_be_meant(words: list[str], code: int, said: str, here: Path,
                                      monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    Path("ok.txt").write_text(TEXT)
    got, err = complaint(["ok.txt", "--no-ui", "--run", "run", *words], capsys)
    assert got == code and said in err and [p.name for p in here.iterdir()] == ["ok.txt"]


@pytest.mark.parametrize(("number", "said"), [
    (errno.ENOSPC, "No space left on device; make room"), (errno.EROFS, "Read-only file system")])
def test_a_folder_that_cannot_take_the_run(number: int, said: str, here: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(self: RunDirectory, body: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(RunDirectory, "write_config", refuse)
    Path("ok.txt").write_text(TEXT)
    code, err = complaint(["ok.txt", *SMALL, "--device", "cpu"], capsys)
    assert code == 1 and said in err and "--run" in err and not Path("run").exists()


def test_a_run_that_another_process_trains(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(Path("run"))
    run.create()
    run.write_config({})
    lock = run.lock()
    code, err = complaint(["resume", "run", "--no-ui"], capsys)
    lock.release()
    assert code == 1 and f"pid {os.getpid()}" in err and "tuitrain attach run" in err
    Path("ok.txt").write_text(TEXT)
    code, err = complaint(["ok.txt", *SMALL], capsys)
    assert code == 1 and "is a run already" in err and "tuitrain resume run" in err
