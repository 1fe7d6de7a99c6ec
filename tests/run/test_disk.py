"""Journal, checkpoints, lock and saver under kills, damage and a full disk."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuitrain.errors import CheckpointError, RunError
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, failpoints, journal
from tuitrain.run.checkpoints import Checkpoint, Retention
from tuitrain.run.directory import RunDirectory, find_runs, is_alive, new_run
from tuitrain.run.failpoints import EXIT_CODE
from tuitrain.run.journal import Journal, Trouble
from tuitrain.run.saver import Job, Saver


def note(text: str) -> e.NoteAdded:
    return e.NoteAdded(branch=0, step=1, text=text, id="", by="me")


# --- journal

def test_a_journal_cut_at_every_byte_loses_only_the_cut_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    writer = Journal(whole)
    for i in range(4):
        writer.write(note(f"n{i}"), time=float(i))
    writer.close()
    data = whole.read_bytes()
    ends = [i + 1 for i, b in enumerate(data) if b == ord("\n")]
    path = tmp_path / "journal.jsonl"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        (tmp_path / "journal.torn").unlink(missing_ok=True)
        complete = sum(end <= cut for end in ends)
        trouble = Trouble()
        assert len(list(journal.read(path, trouble))) == complete and trouble.damaged == 0
        again = Journal(path)
        again.write(note("after"), time=9.0)
        again.close()
        texts = [event.text for event, _ in journal.read(path) if isinstance(event, e.NoteAdded)]
        assert texts == [f"n{i}" for i in range(complete)] + ["after"]
        torn = data[:cut][ends[complete - 1] if complete else 0 :]
        kept = (tmp_path / "journal.torn").read_bytes() if torn else b"\n"
        assert kept == torn + b"\n"


def test_a_damaged_line_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    for i in range(3):
        writer.write(note(f"n{i}"))
    writer.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"n1", b"nX") + lines[2])
    trouble = Trouble()
    assert [x.text for x, _ in journal.read(path, trouble)] == ["n0", "n2"] and trouble.damaged == 1


def test_a_full_disk_keeps_lines_back_and_writes_them_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    writer.write(note("before"))
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 20:
            return real(fd, data[:20])  # a full disk writes short first
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "write", full)
    writer.write(note("during"))
    assert [x.text for x, _ in journal.read(path)] == ["before"] and path.read_bytes().endswith(b"\n")
    monkeypatch.setattr(journal.os, "write", real)
    writer.write(note("after"))
    writer.close()
    assert [x.text for x, _ in journal.read(path)] == ["before", "during", "after"] and writer.dropped == 0


# --- checkpoints

ID = "0123456789abcdef"
TENSORS = {"model.a": np.arange(6, dtype=np.float32).reshape(2, 3), "rng.cpu": np.arange(9, dtype=np.uint8)}


def save(folder: Path, step: int, branch: int = 0, **more: object) -> Checkpoint:
    values = {"reason": "interval", "pinned": False, "values": {"serial": step}, **more}
    return checkpoints.save(folder, TENSORS, branch=branch, step=step, run=ID, **values)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    mark = save(tmp_path, 7)
    loaded = checkpoints.load(tmp_path, checkpoints.list_all(tmp_path)[0])
    assert checkpoints.list_all(tmp_path) == [mark]
    assert loaded.keys() == TENSORS.keys() and all((loaded[k] == v).all() for k, v in TENSORS.items())
    assert loaded["rng.cpu"].dtype == np.uint8 and mark.params_sha256 == checkpoints.params_hash(loaded)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    mark = save(tmp_path, 7)
    path = tmp_path / f"{mark.name}.safetensors"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoints.load(tmp_path, mark)


SAVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.run.test_disk import save
save(Path(sys.argv[1]), 20)
"""
@pytest.mark.parametrize("step", failpoints.SAVE)
def test_a_death_at_any_step_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path, step: str) -> None:
    save(tmp_path, 10)
    root = str(Path(__file__).resolve().parents[2])
    died = subprocess.run([sys.executable, "-c", SAVE, str(tmp_path), root],
                          env={**os.environ, "TUITRAIN_FAILPOINT": step}, check=False)
    assert died.returncode == EXIT_CODE
    (tmp_path / "mine.safetensors").write_bytes(b"not ours")
    (tmp_path / ".tmpmine").write_bytes(b"not ours")
    remarks = checkpoints.clean(tmp_path, ID)
    mark, _, wrong = checkpoints.load_newest(tmp_path)
    # Tensors and mark are both written before either is renamed: from there on a clean finishes what the save began.
    whole = step in ("tensors-renamed", "names-synced", "mark-renamed", "committed")
    assert mark.step == (20 if whole else 10) and not wrong and not remarks
    names = {p.name for p in tmp_path.iterdir()}
    expected = {f"{m.name}{end}" for m in checkpoints.list_all(tmp_path) for end in (".json", ".safetensors")}
    assert names == expected | {"mine.safetensors", ".tmpmine"}


@given(st.lists(st.tuples(st.sampled_from(["interval", "best", "asked for"]), st.booleans()), min_size=1, max_size=60),
       st.integers(0, 5))
def test_retention_keeps_the_newest_the_best_the_pinned_and_each_nth(
        saved: list[tuple[str, bool]], last: int) -> None:
    marks = [Checkpoint(f"c{i}", 0, i, reason, pinned, "", "", 0, {"serial": i})
             for i, (reason, pinned) in enumerate(saved, 1)]
    gone = {m.name for m in Retention(last=last, nth=10).expendable(reversed(marks))}
    assert not gone & {m.name for m in marks[-max(last, 1):]}
    assert not gone & {m.name for m in marks if m.pinned}
    assert not gone & {m.name for m in marks if m.reason == "interval" and m.step % 10 == 0}
    best = [m.name for m in marks if m.reason == "best"]
    assert not gone.intersection(best[-1:])
    if last == 0:
        assert not gone
    else:
        assert len(marks) - len(gone) <= last + 1 + sum(m.pinned for m in marks) + len(marks) // 10


@pytest.mark.parametrize("last", [0, 3])
def test_the_ends_of_epochs_stay_and_few_of_what_the_clock_adds_between_them(last: int) -> None:
    reasons = ["epoch" if i % 20 == 0 else "interval" for i in range(1, 201)]
    marks = [Checkpoint(f"c{i}", 0, i, reason, False, "", "", 0, {"serial": i}) for i, reason in enumerate(reasons, 1)]
    gone = {m.name for m in Retention(last=last, epochs=True).expendable(marks)}
    stay = [m for m in marks if m.name not in gone]
    assert [m.step for m in stay if m.reason == "epoch"] == list(range(20, 201, 20))
    assert len([m for m in stay if m.reason == "interval"]) <= 3 and stay[-1].step == 200


# --- saver

def job(step: int, **more: object) -> Job:
    values = {"reason": "interval", "pinned": False, "bytes": 100, "tensors": lambda: TENSORS,
              "values": {"serial": step}, **more}
    return Job(branch=0, step=step, **values)


def test_a_full_disk_is_said_once_tried_again_and_recovered_from(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuitrain.run.saver.FIRST_PAUSE", 0.01)
    saver = Saver(tmp_path, Retention(last=3))
    saver.submit(job(1))
    assert saver.wait(10)
    monkeypatch.setenv("TUITRAIN_FULL", "tensors-written")
    saver.submit(job(2))
    told: list[e.Event] = []
    while not any(isinstance(x, e.SavingFailed) for x in told):
        told += saver.results()
    assert [c.step for c in checkpoints.list_all(tmp_path)] == [1], "the old one stays valid"
    monkeypatch.delenv("TUITRAIN_FULL")
    assert saver.wait(10)
    saver.close()
    told += saver.results()
    assert [type(x).__name__ for x in told] == ["CheckpointSaved", "SavingFailed", "CheckpointSaved", "SavingRecovered"]
    failed = told[1]
    assert isinstance(failed, e.SavingFailed) and "space" in failed.reason and failed.bytes_needed == 100


def test_newer_requests_replace_waiting_ones_but_not_a_persons(tmp_path: Path) -> None:
    import threading

    gate = threading.Event()

    def slow() -> dict[str, np.ndarray]:
        gate.wait(10)
        return TENSORS

    saver = Saver(tmp_path, Retention(last=0))
    saver.submit(job(1, tensors=slow))
    while saver._waiting is not None:
        pass
    saver.submit(job(2))
    saver.submit(job(3, id="x", by="me"))
    saver.submit(job(4))
    gate.set()
    saver.close()
    assert [c.step for c in checkpoints.list_all(tmp_path)] == [1, 3]
    assert [x.id for x in saver.results() if isinstance(x, e.CheckpointSaved)] == ["", "x"]


def test_one_step_saved_thrice_keeps_three_marks_and_one_file(tmp_path: Path) -> None:
    saver = Saver(tmp_path, Retention(last=3))
    for reason, pinned in (("best", False), ("asked for", True), ("end", False)):
        saver.submit(job(5, reason=reason, pinned=pinned))
        assert saver.wait(10)
    saver.close()
    marks = checkpoints.list_all(tmp_path)
    assert {(mark.reason, mark.pinned) for mark in marks} == {("best", False), ("asked for", True), ("end", False)}
    assert len({(tmp_path / f"{mark.name}.safetensors").stat().st_ino for mark in marks}) == 1
    assert all(checkpoints.load(tmp_path, mark).keys() == TENSORS.keys() for mark in marks)


# --- directory

HOLD = "import sys, pathlib; from tuitrain.run.directory import RunDirectory; " \
       "l = RunDirectory(pathlib.Path(sys.argv[1])).lock(); print('held', flush=True); sys.stdin.read()"


def test_a_lock_names_its_holder_and_is_free_after_kill_9(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    with holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"held\n" and is_alive(run)
        with pytest.raises(RunError, match=rf"pid {holder.pid}; watch it with `tuitrain attach"):
            run.lock()
        holder.kill()
        holder.wait()
    assert not is_alive(run)
    run.lock().release()


def test_a_run_folder_is_not_started_twice_and_names_count_up(tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs", "my book!")
    assert run.path.name == "my-book-1"
    run.create()
    run.write_config({"v": 1})
    assert new_run(tmp_path / "runs", "my book!").path.name == "my-book-2"
    assert [r.path.name for r in find_runs(tmp_path / "runs")] == ["my-book-1"]
    with pytest.raises(RunError, match="tuitrain resume"):
        run.create()
    with pytest.raises(RunError, match="not a run folder"):
        RunDirectory(tmp_path).read_config()
    assert dataclasses.is_dataclass(run)
