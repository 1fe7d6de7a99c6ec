"""Drills: a fault that is found, a healthy run that is left alone, what the guard saves, and a person's score."""

from pathlib import Path

import pytest

from tuitrain.cli import main
from tuitrain.cli.sitting import reached, score
from tuitrain.diagnosis import detector
from tuitrain.experiments import drill, faults
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal
from tuitrain.troubles import CAUSES

pytestmark = pytest.mark.slow

HARBOUR = Path(__file__).resolve().parents[2] / "corpora" / "harbour.txt"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "SMALL", {**drill.SMALL, "hidden": 24, "batch_size": 8, "bptt": 16, "limit": 60_000,
                                         "evaluate_every": 50})
    monkeypatch.setattr(drill, "HEALTHY_STEPS", 500)


def test_steps_that_are_too_large_are_found_and_the_guard_saves_the_run() -> None:
    left = drill.run(faults.FAULTS["lr-x100"], HARBOUR, 3, after=400)
    assert left.hit and left.cause in left.right and left.delay is not None and left.delay <= 25
    saved = drill.run(faults.FAULTS["lr-x100"], HARBOUR, 3, guard="rollback", after=400)
    assert saved.rollbacks == 1
    assert saved.val_after is not None and left.val_after is not None and saved.val_after < left.val_after


def test_text_that_changed_is_told_from_weights_that_did() -> None:
    found = drill.run(faults.FAULTS["bytes"], HARBOUR, 1, after=120)
    assert found.cause == "bad_data" and found.early == 0


def test_a_gradient_that_does_not_arrive_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "LEARNED_AFTER", 600)
    monkeypatch.setattr(detector, "STUCK_AFTER", 300)
    monkeypatch.setattr(detector, "STUCK_FOR", 200)
    found = drill.run(faults.FAULTS["vanishing"], HARBOUR, 1)
    assert found.hit and found.rule == "no_progress", found
    assert any("of the gradient is in the recurrent layers" in words for words in found.evidence)


def test_a_healthy_run_is_left_alone() -> None:
    found = drill.run(faults.HEALTHY["turns"], HARBOUR, 2, guard="rollback", after=600)
    assert found.hit and not found.cause and found.rollbacks == 0 and found.early == 0


def test_the_gallery_counts_hits_and_misses() -> None:
    assert len(faults.FAULTS) >= 12 and all(set(x.right) <= set(CAUSES) for x in faults.FAULTS.values())
    outcomes = [drill.run(faults.FAULTS["nan"], HARBOUR, s, after=40) for s in (1, 2)]
    counts = drill.summary(outcomes)
    assert counts["hits"] == counts["of"] == 2 and counts["false"] == 0
    assert counts["matrix"] == {"nan": {"non_finite": 2}}


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["drill", "--list"]) == 0
    assert "lr-x33" in capsys.readouterr().out
    assert main.main(["drill", "lr-x3", "--no-ui"]) == 2 and "did you mean lr-x33" in capsys.readouterr().err
    assert main.main(["drill", "--no-ui"]) == 2 and "--all" in capsys.readouterr().err
    assert main.main(["drill", "nan", "--no-ui", "--seeds", "x"]) == 2


@pytest.mark.parametrize(("note", "said"), [
    ("lr too high!", "you named it 60 steps"), ("The learning rate is too high", "you named it 60 steps"),
    ("lr_too_high", "you named it 60 steps"), ("lr-x33", "you named it 60 steps"), ("dead?", "something else")])
def test_a_persons_score(note: str, said: str, tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / "drill-1")
    folder.create()
    journal = Journal(folder.journal)
    journal.write(e.NoteAdded(branch=0, step=1360, text=note, id="1", by="you"), 1.0)
    journal.write(e.KnobChanged(branch=0, step=1400, name="lr", old=0.1, new=0.01, id="2", by="you"), 1.0)
    journal.write(e.Evaluated(branch=0, step=1500, loss=1.4, bpc=2.0, best=True, characters=9, reason="interval",
                              seconds=0.1), 2.0)
    journal.close()
    told = score(faults.FAULTS["lr-x33"], 1300, folder)
    assert said in told and "you acted 100 steps after" in told and "lr too high" in told
    assert "before the fault" in score(faults.FAULTS["lr-x33"], 9000, folder) and 1300 <= reached(folder) < 9000
