"""What a run folder survives: power cuts, damage, links, strangers' files, folders that are no longer there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Run
from tuitrain.errors import CheckpointError, CorpusError, RunError, UsageError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.run import checkpoints, folder, journal, sealed
from tuitrain.run.checkpoints import Checkpoint, Retention
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal, Trouble
from tuitrain.run.saver import GONE, Job, Saver

Start = Callable[..., Run]
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
TENSORS = {"model.a": np.arange(6, dtype=np.float32).reshape(2, 3), "rng.cpu": np.arange(9, dtype=np.uint8)}


def save(place: Path, step: int, *, branch: int = 0, run: str = ID, value: float = 0.0) -> Checkpoint:
    tensors = {**TENSORS, "model.a": TENSORS["model.a"] + np.float32(value)}
    return checkpoints.save(place, tensors, branch=branch, step=step, reason="interval", pinned=False,
                            values={"serial": step}, run=run)


# --- the order of writes

def test_what_a_checkpoint_needs_is_durable_before_it_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(fd: int) -> None:
        calls.append("sync " + Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_sync(fd)

    def rename(old: str, new: str, **where: int) -> None:
        calls.append(f"rename {new}")
        real_rename(old, new, **where)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    run = start(steps=20, checkpoint_every=10, evaluate_every=100_000)
    run.finish()
    name = "b0-000000010"
    text, config = calls.index("rename corpus.txt.gz"), calls.index("rename config.json")
    committed = calls.index(f"rename {name}.json")
    assert calls.index("sync .corpus.txt.gz.part") < text < calls.index("sync .config.json.part") < config
    tensors = next(i for i, call in enumerate(calls) if call.startswith(f"sync .{name}.safetensors"))
    assert tensors < calls.index("sync journal.jsonl", tensors) < calls.index(f"rename {name}.safetensors") < committed
    assert "sync checkpoints" in calls[calls.index(f"rename {name}.safetensors"):committed]
    assert "sync checkpoints" in calls[committed:]


def test_a_journal_that_cannot_be_synced_holds_the_checkpoint_back(tmp_path: Path) -> None:
    def no_disk() -> None:
        raise OSError(5, "Input/output error")

    save(tmp_path, 10)
    with pytest.raises(OSError, match="Input/output"):
        checkpoints.save(tmp_path, TENSORS, branch=0, step=20, reason="interval", pinned=False, values={}, run=ID,
                         before_commit=no_disk)
    assert [mark.step for mark in checkpoints.list_all(tmp_path)] == [10]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}, "parts fill the disk"


# --- committed is committed

def test_a_committed_checkpoint_is_never_written_again(tmp_path: Path) -> None:
    first = save(tmp_path, 10)
    before = (tmp_path / f"{first.name}.safetensors").read_bytes()
    second = save(tmp_path, 10, value=1.0)
    assert second.name != first.name and (tmp_path / f"{first.name}.safetensors").read_bytes() == before
    assert len(checkpoints.list_all(tmp_path)) == 2


def test_branches_are_counted_from_files_where_the_journal_is_gone(start: Start, resume: Start) -> None:
    run = start(steps=40, checkpoint_every=10, keep=0)
    run.finish()
    stray = run.folder.checkpoints / "b7-000000020.safetensors"
    stray.write_bytes(b"of a branch whose mark is lost")
    run.folder.journal.unlink()
    again = resume(run.folder, steps=60)
    assert again.machine.progress.branch == 8
    assert stray.exists() and any("lost its commit mark" in said.text for said in again.of(e.EngineSaid))


# --- damage

def test_every_changed_byte_of_a_mark_is_named(tmp_path: Path) -> None:
    save(tmp_path, 10)
    mark = save(tmp_path, 20)
    path = tmp_path / f"{mark.name}.json"
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1, 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        newest, _, wrong = checkpoints.load_newest(tmp_path, run=ID)
        assert newest.step == 10 and len(wrong) == 1 and mark.name in wrong[0], f"byte {at}"


def test_every_changed_byte_of_a_config_is_refused(start: Start) -> None:
    run = start(steps=10)
    run.finish()
    whole = run.folder.config.read_bytes()
    kept = run.folder.read_config()
    for at in range(0, len(whole) - 1, 11):
        run.folder.config.write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1:])
        try:
            read = run.folder.read_config()
        except RunError:
            continue
        assert read == kept, f"byte {at}"  # white space only


def test_a_key_of_a_newer_version_is_named(start: Start, resume: Start) -> None:
    run = start(steps=10)
    run.finish()
    kept = run.folder.read_config()
    run.folder.write_config({**kept, "config": {**kept["config"], "warp": 9}})
    with pytest.raises(UsageError, match="warp"):
        resume(run.folder)
    run.folder.write_config({**kept, "config": {**kept["config"], "lr_schedule": "lineas"}})
    with pytest.raises(UsageError, match="lineas"):
        resume(run.folder)


def test_a_run_without_checksums_opens_and_says_so(start: Start, resume: Start) -> None:
    run = start(steps=10)
    run.finish()
    kept = run.folder.read_config()
    del kept["run"], kept["corpus_bytes"]
    run.folder.config.write_text(json.dumps(kept))
    for path in run.folder.checkpoints.glob("*.json"):
        mark = json.loads(path.read_bytes())
        del mark["crc"], mark["run"]
        path.write_text(json.dumps(mark))
    again = resume(run.folder, steps=20)
    assert again.of(e.RunResumed)[0].step == 10
    assert any("without checksums" in said.text for said in again.of(e.EngineSaid))


def test_a_mark_leads_nowhere_else(tmp_path: Path) -> None:
    place = tmp_path / "run" / "checkpoints"
    place.mkdir(parents=True)
    victim = tmp_path / "x" / "model.safetensors"
    victim.parent.mkdir()
    victim.write_bytes(b"precious")
    mark = save(place, 10)
    body, _ = sealed.parse((place / f"{mark.name}.json").read_bytes(), 1 << 20)
    (place / f"{mark.name}.json").write_bytes(sealed.dump({**body, "name": "../../x/model"}))
    marks, damaged = checkpoints.survey(place)
    assert not marks and len(damaged) == 1
    with pytest.raises(CheckpointError, match="not the name"):
        checkpoints.delete(place, Checkpoint("../../x/model", 0, 10, "", False, "", "", 0, {}))
    assert victim.read_bytes() == b"precious"


def test_a_text_that_is_damaged_names_the_copy_and_the_remedy(start: Start, resume: Start) -> None:
    run = start(steps=10)
    run.finish()
    run.folder.corpus.write_bytes(b"")
    with pytest.raises(CorpusError, match=r"corpus\.txt\.gz.*--corpus"):
        resume(run.folder)


def test_a_text_does_not_unpack_to_more_than_the_run_says(start: Start, resume: Start) -> None:
    import gzip

    run = start(steps=10)
    run.finish()
    run.folder.corpus.write_bytes(gzip.compress(bytes(1 << 28), 1))
    with pytest.raises(CorpusError, match=r"corpus\.txt\.gz"):
        resume(run.folder)


# --- strangers' files, links, other folders

def test_nothing_is_removed_that_this_run_did_not_write(tmp_path: Path) -> None:
    strangers = [".tmpmyfile", "b-side.notes.part", "best-model.safetensors", "b0-000000010-backup.safetensors",
                 "b0-000000030.safetensors", f".b0-000000040.safetensors.{OTHER}.part"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"mine")
    ours = tmp_path / f".b0-000000050.safetensors.{ID}.part"
    ours.write_bytes(b"half a save")
    remarks = checkpoints.clean(tmp_path, ID)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in strangers) and not ours.exists()
    assert len(remarks) == 1 and "b0-000000030" in remarks[0]


@pytest.mark.parametrize("name", ["lock", "journal.jsonl", "config.json", "checkpoints"])
def test_links_are_not_followed(start: Start, resume: Start, tmp_path: Path, name: str) -> None:
    run = start(steps=10)
    run.finish()
    path, elsewhere = run.folder.path / name, tmp_path / "elsewhere"
    if path.exists():
        shutil.move(path, elsewhere)
    else:
        elsewhere.write_bytes(b"somebody's")
    before = {p.name: p.stat().st_mtime_ns for p in [elsewhere, *elsewhere.glob("*")]}
    path.symlink_to(elsewhere)
    with pytest.raises(RunError, match="link"):
        _locked_and_resumed(run.folder, resume)
    assert {p.name: p.stat().st_mtime_ns for p in [elsewhere, *elsewhere.glob("*")]} == before


def _locked_and_resumed(folder: RunDirectory, resume: Start) -> None:
    folder.lock().release()
    resume(folder)


def test_a_folder_begun_anew_gets_nothing_of_the_old_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    saver = Saver(run.checkpoints, Retention(last=3), run=ID)
    shutil.rmtree(run.path)
    run.create()
    saver.submit(Job(branch=0, step=5, reason="interval", pinned=False, bytes=100, tensors=lambda: TENSORS, values={}))
    saver.close()
    [failed] = saver.results()
    assert isinstance(failed, e.SavingFailed) and failed.reason == GONE and failed.bytes_free == -1
    assert not list(run.checkpoints.iterdir())


def test_a_rollback_takes_nothing_of_another_run(start: Start) -> None:
    run, other = start(run="mine"), start(run="other", seed=9)
    for each in (run, other):
        each.to_step(20)
    assert isinstance(other.answer(c.SaveCheckpoint), e.CheckpointSaved)
    mark, = checkpoints.list_all(other.folder.checkpoints)
    for end in ("json", "safetensors"):
        shutil.copy(other.folder.checkpoints / f"{mark.name}.{end}", run.folder.checkpoints)
    refused = run.answer(c.Rollback, point=mark.name)
    assert isinstance(refused, e.CommandRefused) and "no restore point" in refused.reason
    # Without an id it is no better: all marks of a run that has one carry it.
    path = run.folder.checkpoints / f"{mark.name}.json"
    path.write_bytes(sealed.dump({**json.loads(path.read_text()), "run": ""}))
    assert isinstance(run.answer(c.Rollback, point=mark.name), e.CommandRefused)


def test_rollback_and_black_box_stay_in_the_folder_that_was_opened(start: Start) -> None:
    run = start(snapshot_every=1000)
    run.to_step(20)
    saved = run.answer(c.SaveCheckpoint)
    moved = run.folder.path.with_name("moved")
    run.folder.path.rename(moved)
    run.folder.create()
    back = run.answer(c.Rollback, point=Path(saved.path).stem)
    assert isinstance(back, e.RolledBack) and back.to_step == 20
    kept = run.answer(c.KeepBlackBox, onset=10)
    assert isinstance(kept, f.BlackBoxKept) and (moved / kept.path).is_file()
    assert not list(run.folder.checkpoints.iterdir()) and not (run.folder.path / "blackbox").exists()


def test_a_black_box_does_not_follow_a_link(start: Start, tmp_path: Path) -> None:
    run = start()
    run.to_step(20)
    (tmp_path / "elsewhere").mkdir()
    (run.folder.path / "blackbox").symlink_to(tmp_path / "elsewhere")
    refused = run.answer(c.KeepBlackBox, onset=10)
    assert isinstance(refused, e.CommandRefused) and "link" in refused.reason
    assert not list((tmp_path / "elsewhere").iterdir())


def test_checkpoints_of_another_run_are_not_taken(tmp_path: Path) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20, run=OTHER)
    newest, _, wrong = checkpoints.load_newest(tmp_path, run=ID)
    assert newest.step == 10 and "another run" in wrong[0]


def test_a_run_whose_lock_file_is_removed_stays_locked(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    lock = run.lock()
    (run.path / "lock").unlink()
    hold = "import sys, pathlib; from tuitrain.run.directory import RunDirectory; " \
           "RunDirectory(pathlib.Path(sys.argv[1])).lock()"
    second = subprocess.run([sys.executable, "-c", hold, str(run.path)], capture_output=True, text=True, check=False)
    assert second.returncode and "is being trained by" in second.stderr
    lock.release()


def test_all_of_a_run_is_its_owners_alone(start: Start) -> None:
    run = start(steps=10)
    run.finish()
    for path in [run.folder.path, *run.folder.path.rglob("*")]:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path.name


# --- sizes

def test_a_line_of_any_length_takes_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "journal.jsonl"
    writer = Journal(path)
    for text in ("first", "last"):
        writer.write(e.NoteAdded(branch=0, step=1, text=text, id="", by="me"))
    writer.close()
    first, last = path.read_bytes().splitlines(keepends=True)
    with open(path, "wb") as file:
        file.write(first)
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + last)
    trouble = Trouble()
    tracemalloc.start()
    texts = [event.text for event, _ in journal.read(path, trouble) if isinstance(event, e.NoteAdded)]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts == ["first", "last"] and trouble.damaged == 1
    assert most < 32 << 20


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    with pytest.raises(RunError, match=r"pipe|regular"):
        list(journal.read(tmp_path / "journal.jsonl"))
    with pytest.raises(RunError, match=r"pipe|regular"):
        folder.open_regular(tmp_path / "journal.jsonl", os.O_WRONLY)


def test_what_a_full_disk_made_the_journal_drop_is_reported(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuitrain.engine.worker import Worker

    run = start(steps=10)
    book = run._journal
    worker = Worker(run.trainer, book)
    monkeypatch.setattr(journal, "MAX_WAITING", 3)
    monkeypatch.setattr(book, "_append", lambda line: False)
    for number in range(8):
        worker.announce(e.NoteAdded(branch=0, step=1, text=f"n{number}", id="", by="me"))
    monkeypatch.undo()
    worker.announce(e.NoteAdded(branch=0, step=1, text="room again", id="", by="me"))
    said = [event.text for event, _ in journal.read(run.folder.journal) if isinstance(event, e.EngineSaid)]
    assert any("5 lines of the journal were lost" in text for text in said)
