"""A disk that fails an fsync, forgets what it held back and then says that all is well: nothing told is lost."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.journal import Journal, Trouble


def note(text: str) -> e.NoteAdded:
    return e.NoteAdded(branch=0, step=1, text=text, id="", by="me")


class Disk:
    """What a power cut would leave: the bytes of each write reach it by the next fsync, or, if that fails, never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.path, self.failing = path, False
        self.durable = bytearray(path.read_bytes())
        self._dirty: list[tuple[int, bytes]] = []
        self._write, self._pwrite, self._fsync = os.write, os.pwrite, os.fsync
        for name in ("write", "pwrite", "fsync"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def _ours(self, fd: int) -> bool:
        return Path(os.readlink(f"/proc/self/fd/{fd}")) == self.path

    def write(self, fd: int, data: bytes) -> int:
        if self._ours(fd):
            self._dirty.append((os.fstat(fd).st_size, bytes(data)))
        return self._write(fd, data)

    def pwrite(self, fd: int, data: bytes, place: int) -> int:
        count = self._pwrite(fd, data, place)
        if self._ours(fd):
            assert os.pread(fd, len(data), place) == data, "appended, not put in its place"
            self._dirty.append((place, bytes(data)))
        return count

    def fsync(self, fd: int) -> None:
        if not self._ours(fd):
            return self._fsync(fd)
        dirty, self._dirty = self._dirty, []
        if self.failing:
            raise OSError(5, "Input/output error")
        for place, data in dirty:
            self.durable.extend(bytes(max(0, place + len(data) - len(self.durable))))
            self.durable[place : place + len(data)] = data

    def cut(self) -> tuple[list[str], int]:
        """What can be read after a power cut, and the damaged lines."""
        left = self.path.with_name("left.jsonl")
        left.write_bytes(self.durable)
        trouble = Trouble()
        return [x.text for x, _ in journal.read(left, trouble) if isinstance(x, e.NoteAdded)], trouble.damaged


@pytest.mark.parametrize("kept", [journal.MAX_KEPT, 300, 0])
def test_what_a_failed_sync_lost_is_written_again(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_KEPT", kept)
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    disk = Disk(monkeypatch, path)
    writer.write(note("before"))
    writer.sync()
    disk.failing = True
    for text in ("one", "two", "three"):
        writer.write(note(text))
        with pytest.raises(OSError, match="Input/output"):
            writer.sync()
    assert not writer.news(), "it is not over"
    disk.failing = False
    writer.write(note("after"))
    writer.sync()
    assert disk.cut() == (["before", "one", "two", "three", "after"], 0)
    said, = writer.news()
    assert "bytes were rewritten" in said and "could not" not in said and not writer.news()
    writer.write(note("last"))
    assert writer.close() == ""
    texts = [x.text for x, _ in journal.read(path) if isinstance(x, e.NoteAdded)]
    assert disk.cut()[0] == texts == ["before", "one", "two", "three", "after", "last"]


def test_an_end_that_is_not_on_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    disk = Disk(monkeypatch, path)
    writer.write(note("one"))
    disk.failing = True
    assert writer.close() == "Input/output error" and disk.cut() == ([], 0)


def test_half_a_line_that_could_not_be_cut_off_is_cut_off_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                ) -> None:
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    write, truncate = os.write, os.ftruncate
    taken: list[int] = []

    def broken(fd: int, data: bytes) -> int:
        if taken:
            raise OSError(5, "Input/output error")
        taken.append(write(fd, data[:20]))
        return 20

    def no_cut(fd: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    monkeypatch.setattr(os, "ftruncate", no_cut)
    writer.write(note("one"))
    assert writer.waiting == 1
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "ftruncate", truncate)
    writer.write(note("two"))
    writer.close()
    trouble = Trouble()
    assert len(list(journal.read(path, trouble))) == 2 and not trouble.damaged


def test_a_run_whose_journal_was_doubtful_says_so_to_who_watches(start: Callable[..., Run], tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=20)
    worker = run.worker
    feed = worker.feed()
    monkeypatch.setattr(worker._journal, "news", lambda said=["the disk failed"]: [said.pop()] if said else [])
    worker.announce(note("x"))
    said = [x for x in feed.drain() if isinstance(x, e.EngineSaid)]
    assert [x.text for x in said] == ["the disk failed"]
    assert any(x == said[0] for x, _ in journal.read(run.folder.journal))
