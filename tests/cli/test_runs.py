"""The table of runs: whatever lies in a folder, every other run keeps its row."""

import os
import time
from pathlib import Path

import pytest

from tuitrain.cli import runs
from tuitrain.cli.main import main
from tuitrain.protocol import events as e
from tuitrain.protocol.codec import encode
from tuitrain.run.directory import RunDirectory


def steps(first: int, count: int, branch: int = 0) -> e.StepsDone:
    return e.StepsDone(branch=branch, first_step=first, epoch=0.0, loss=(1.0,) * count, grad_norm=(1.0,) * count,
                       every=1, clipped=(0,) * count, skipped=(0,) * count, lr=(), clip=(), norms={}, seconds=1.0)


def evaluated(step: int, bpc: float) -> e.Evaluated:
    return e.Evaluated(branch=0, step=step, loss=bpc, bpc=bpc, best=True, characters=9, reason="", seconds=1.0)


def make(parent: Path, name: str, *events: e.Event, config: str = "{}") -> RunDirectory:
    run = RunDirectory(parent / name)
    run.create()
    run.config.write_text(config)
    run.journal.write_text("".join(encode(x) + "\n" for x in events))
    return run


ENDED = e.RunEnded(reason="finished", exit_code=0, branch=0, step=90)


def table(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["runs", str(folder)]) == 0
    return {line.split()[0].rpartition("/")[2]: line for line in capsys.readouterr().out.splitlines()}


def test_a_bad_run_hides_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BUDGET", 0.5)
    make(tmp_path, "good", steps(1, 90), evaluated(90, 2.5), ENDED)
    make(tmp_path, "deep", config='{"a":' * 200_000)
    fifo = make(tmp_path, "fifo")
    fifo.journal.unlink()
    os.mkfifo(fifo.journal)
    link = make(tmp_path, "link")
    link.journal.unlink()
    link.journal.symlink_to("/etc/passwd")
    garbage = make(tmp_path, "garbage")
    with open(garbage.journal, "wb") as file:
        for _ in range(20):
            file.write(b"x\n" * (1 << 19))
    make(tmp_path, "line").journal.write_bytes(b"y" * (20 << 20) + b"\n" + encode(steps(1, 7)).encode() + b"\n")
    began = time.monotonic()
    rows = table(tmp_path, capsys)
    assert time.monotonic() - began < 20.0
    assert rows["good"].split()[1:5] == ["finished", "90", "2.500", "2.500"]
    assert "unreadable: " in rows["deep"] and "unreadable: journal.jsonl is not a regular file" in rows["fifo"]
    assert "unreadable: journal.jsonl: Too many levels of symbolic links" in rows["link"]
    assert "damaged lines" in rows["garbage"] and "interrupted (1 damaged lines)" in rows["line"]
    assert " 7 " in rows["line"]


def test_a_file_with_several_names_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path, "one", ENDED)
    (run.path / "large").write_bytes(bytes(5_000_000))
    os.link(run.path / "large", run.path / "again")
    assert " 5 MB " in table(tmp_path, capsys)["one"]


def test_reading_ends_when_its_time_is_up(tmp_path: Path) -> None:
    run = make(tmp_path, "long", *[evaluated(i, 3.0) for i in range(100)], ENDED)
    ticks = iter(range(1000))
    found = runs.summary(run.journal, 50, lambda: float(next(ticks)))
    assert not found.whole and found.state == "interrupted" and found.last == 3.0
    assert runs.summary(run.journal).whole and runs.summary(run.journal).state == "finished"


@pytest.mark.parametrize(("events", "state", "step"), [
    ([steps(1, 40)], "interrupted", 40), ([], "interrupted", 0),
    ([steps(1, 90), ENDED], "finished", 90),
    ([steps(1, 90), e.RolledBack(from_branch=0, from_step=90, to_step=30, branch=1, id="", by="", knobs={}, asked=None,
                                 point="")], "interrupted", 30)])
def test_without_a_goodbye_it_was_interrupted(tmp_path: Path, events: list[e.Event], state: str, step: int) -> None:
    found = runs.summary(make(tmp_path, "run", *events).journal)
    assert (found.state, found.step) == (state, step)


def test_many_steps_are_read_in_a_moment(tmp_path: Path) -> None:
    run = make(tmp_path, "old")
    stretch = encode(steps(1, 50)) + "\n"
    with open(run.journal, "w") as file:
        for _ in range(20_000):  # a million steps
            file.write(stretch)
        file.write(encode(ENDED) + "\n")
    began = time.process_time()
    assert runs.summary(run.journal).state == "finished"
    assert time.process_time() - began < 1.0


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    assert main(["runs", str(tmp_path)]) == 0
    run = make(tmp_path, "run", ENDED)
    assert table(run.path, capsys)["run"].split()[1] == "finished", "a run itself is a table of one"
