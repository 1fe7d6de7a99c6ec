"""`tuitrain verify`: says of everything in a run folder whether it is whole, and sets aside what is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tuitrain.cli.main import main
from tuitrain.run import checkpoints, verify

Start = Callable[..., Run]


def finished(start: Start) -> Run:
    run = start(steps=40, checkpoint_every=10, keep=0)
    run.finish()
    run.trainer.saves.abandon()
    return run


def test_a_whole_run_is_said_to_be_whole(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    assert main(["verify", str(run.folder.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("whole" in line for line in lines)
    assert {line.split()[0] for line in lines} >= {"config.json", "corpus.txt.gz", "journal.jsonl", "b0-000000040"}


@pytest.mark.parametrize("name", ["config.json", "corpus.txt.gz", "journal.jsonl", "checkpoints/b0-000000040.json",
                                  "checkpoints/b0-000000040.safetensors"])
def test_each_file_is_checked(start: Start, capsys: pytest.CaptureFixture[str], name: str) -> None:
    run = finished(start)
    path = run.folder.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert main(["verify", str(run.folder.path)]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    damaged = {row[0] for row in rows if row[1] == "damaged"}
    if name.endswith(".safetensors"):  # one file may have several marks, if its step was saved more than once
        damaged = {what.rpartition("-")[0] if what.count("-") > 1 else what for what in damaged}
    assert damaged == {Path(name).name.removesuffix(".safetensors").replace("0.json", "0")}


def test_a_repair_sets_aside_and_the_run_goes_on(start: Start, resume: Start,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    place = run.folder.checkpoints
    before = max(mark.step for mark in checkpoints.list_all(place) if mark.step < 40)
    broken = sorted(place.glob("b0-000000040*.json"))
    contents = []
    for path in broken:
        path.write_bytes(path.read_bytes()[:-9])
        contents.append(path.read_bytes())
    orphan = place / "b3-000000010.safetensors"
    orphan.write_bytes(b"without a mark")
    notes = place / "notes.txt"
    notes.write_text("a person's own")
    assert main(["verify", "--repair", str(run.folder.path)]) == 0
    aside = run.folder.path / verify.ASIDE
    assert [(aside / path.name).read_bytes() for path in broken] == contents
    assert (aside / orphan.name).read_bytes() == b"without a mark" and notes.exists()
    capsys.readouterr()
    assert main(["verify", str(run.folder.path)]) == 0
    assert resume(run.folder, steps=60).machine.progress.step == before


def test_a_repair_waits_for_nobody_who_trains(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    lock = run.folder.lock()
    assert main(["verify", "--repair", str(run.folder.path)]) == 1
    assert "is being trained by" in capsys.readouterr().err
    lock.release()
