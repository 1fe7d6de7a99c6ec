"""`tuitrain verify`: says of everything in a run folder whether it is whole, and sets aside what is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tuitrain.cli.main import main
from tuitrain.run import checkpoints, repair

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
    aside = run.folder.path / repair.ASIDE
    assert [(aside / path.name).read_bytes() for path in broken] == contents
    assert (aside / orphan.name).read_bytes() == b"without a mark" and notes.exists()
    capsys.readouterr()
    assert main(["verify", str(run.folder.path)]) == 0
    assert resume(run.folder, steps=60).machine.progress.step == before


def spoil(path: Path) -> bytes:
    """Turn a bit in the middle of a file; returns what it holds then."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return bytes(data)


def test_a_repair_rebuilds_the_configuration_from_the_journal_and_the_text(
        start: Start, resume: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    before = run.folder.read_config()
    damaged = spoil(run.folder.config)
    assert main(["verify", "--repair", str(run.folder.path)]) == 0
    out = capsys.readouterr().out
    assert "rebuilt config.json from the journal and corpus.txt.gz; the damaged one is set-aside/config.json" in out
    assert (run.folder.path / "set-aside" / "config.json").read_bytes() == damaged
    assert run.folder.read_config() == before
    assert resume(run.folder, steps=60).machine.progress.step == 40


def test_a_configuration_is_not_rebuilt_without_the_event_that_the_run_began_with(
        start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    damaged = spoil(run.folder.config)
    lines = run.folder.journal.read_bytes().splitlines(keepends=True)
    run.folder.journal.write_bytes(b"".join(line for line in lines if b'"kind":"Run' not in line))
    assert main(["verify", "--repair", str(run.folder.path)]) == 1
    assert "does not have the event that the run began with" in capsys.readouterr().out
    assert run.folder.config.read_bytes() == damaged and not (run.folder.path / "set-aside").exists()


def test_a_repair_rebuilds_the_text_from_the_file_that_the_run_began_with(
        start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    whole = run.folder.corpus.read_bytes()
    damaged = spoil(run.folder.corpus)
    assert main(["verify", "--repair", str(run.folder.path)]) == 0
    assert "rebuilt corpus.txt.gz from " in capsys.readouterr().out
    assert run.folder.corpus.read_bytes() == whole
    assert (run.folder.path / "set-aside" / "corpus.txt.gz").read_bytes() == damaged
    source = Path(str(run.folder.read_config()["config"]["corpus"]))
    damaged = spoil(run.folder.corpus)
    source.write_text(source.read_text() + "and more")
    assert main(["verify", "--repair", str(run.folder.path)]) == 1
    assert "is not the text any more that the run started with" in capsys.readouterr().out
    source.unlink()
    assert main(["verify", "--repair", str(run.folder.path)]) == 1
    assert "is not at" in capsys.readouterr().out
    assert run.folder.corpus.read_bytes() == damaged


def test_a_repair_keeps_the_intact_lines_of_a_journal(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    lines = run.folder.journal.read_bytes().splitlines(keepends=True)
    at = len(lines) // 2
    lines[at] = lines[at][:-20] + b"\n"
    damaged = b"".join(lines)
    run.folder.journal.write_bytes(damaged)
    assert main(["verify", "--repair", str(run.folder.path)]) == 0
    assert f"rebuilt journal.jsonl from its {len(lines) - 1:,} intact lines" in capsys.readouterr().out
    assert run.folder.journal.read_bytes() == b"".join(lines[:at] + lines[at + 1:])
    assert (run.folder.path / "set-aside" / "journal.jsonl").read_bytes() == damaged
    assert main(["verify", str(run.folder.path)]) == 0


def test_a_second_repair_overwrites_nothing_that_was_set_aside(start: Start) -> None:
    run = finished(start)
    contents = []
    for _ in range(2):
        contents.append(spoil(run.folder.config))
        assert main(["verify", "--repair", str(run.folder.path)]) == 0
    aside = run.folder.path / "set-aside"
    assert [(aside / name).read_bytes() for name in ("config.json", "config.json.2")] == contents


def test_a_repair_waits_for_nobody_who_trains(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(start)
    lock = run.folder.lock()
    assert main(["verify", "--repair", str(run.folder.path)]) == 1
    assert "is being trained by" in capsys.readouterr().err
    lock.release()
