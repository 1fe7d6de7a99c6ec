"""A sitting is a script: trained again with every intervention at its step, it has the same losses bit for bit."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Run
from tuitrain.charlstm.reenactment import reenact
from tuitrain.cli.main import main
from tuitrain.errors import RunError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol.codec import encode
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory


def sitting(run: Run) -> None:
    """22 interventions of each kind, two rollbacks among them, and five undos."""
    for step, factor in ((15, 0.5), (20, 2.0), (24, 0.8)):
        run.to_step(step)
        run.answer(c.ScaleKnob, name="lr", factor=factor)
    for step, clip in ((30, 0.5), (33, "auto"), (36, 0.2)):
        run.to_step(step)
        run.answer(c.SetKnob, name="clip", value=clip)
    run.to_step(40)
    run.answer(c.Land, steps=100)
    run.to_step(50)
    run.answer(c.Undo)
    run.to_step(55)
    assert isinstance(run.answer(c.Rollback, to=30, lr_factor=0.5, clip=0.4, skip_batches=2), e.RolledBack)
    run.to_step(60)
    run.answer(c.SetPrompt, text="the tide")
    run.answer(c.SetKnob, name="temperature", value=0.9)
    run.answer(c.Pause)
    run.answer(c.Continue)
    run.to_step(70)
    run.answer(c.Undo)  # the temperature
    run.answer(c.SetKnob, name="steps", value=400.0)
    run.to_step(75)
    run.answer(c.ScaleKnob, name="lr", factor=3.0)
    run.to_step(82)
    run.answer(c.Undo, weights=True)
    run.to_step(90)
    run.answer(c.Rollback, to=60, lr=0.004)
    run.to_step(95)
    run.answer(c.Undo)  # the rollback
    run.to_step(99)
    run.answer(c.Land, steps=60)
    run.to_step(120)
    run.ask(c.SaveCheckpoint)  # with the next command: its answer comes when the disk has it
    for factor in (0.9, 1.1, 0.7):
        run.trainer.steering._done[-1].at -= 10  # a second later, each an intervention of its own
        run.answer(c.ScaleKnob, name="clip", factor=factor)
        run.to_step(run.machine.progress.step + 3)


CASES: list[dict[str, Any]] = [
    {}, {"dropout": 0.2, "optimizer": "adamw"}, {"loss": "last", "stride": 3, "lr_schedule": "linear", "steps": 500},
    {"lr_schedule": "plateau", "evaluate_every": 7, "lr_patience": 1}, {"clip": "auto", "cell": "gru"}]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_sitting_with_interventions_and_rollbacks_has_the_same_losses(
        start: Callable[..., Run], resume: Callable[..., Run], case: dict[str, Any]) -> None:
    run = start(**case)
    sitting(run)
    run.stop()
    again = resume(run.folder, knobs={"lr": 0.003})
    again.to_step(150)
    assert isinstance(again.answer(c.Rollback, to=140), e.RolledBack)
    again.to_step(160)
    again.stop()
    outcome = reenact(run.folder)
    assert outcome.first is None and not outcome.remarks
    assert outcome.acts.total() >= 20 and outcome.acts["RolledBack"] == 3 and outcome.acts["Undone"] == 4
    told = sum(len(x.loss) for x, _ in journal.read(run.folder.journal) if isinstance(x, e.StepsDone))
    assert outcome.steps == told and outcome.compared == 2 * told and outcome.weights >= 2
    assert len(outcome.branches) == 5


def test_a_run_that_went_on_from_an_earlier_checkpoint(start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    run = start()
    run.to_step(40)
    saved = run.answer(c.SaveCheckpoint)
    assert isinstance(saved, e.CheckpointSaved)
    kept = saved.step
    run.to_step(run.machine.progress.step + 20)
    run.stop()
    again = resume(run.folder, checkpoint=kept)
    again.to_step(kept + 30)
    again.stop()
    outcome = reenact(run.folder)
    assert outcome.first is None and outcome.branches == {0, 1} and outcome.weights >= 2


def change(run: RunDirectory, wanted: Callable[[e.Event], bool], edit: Callable[[dict[str, Any]], None]) -> None:
    """Write one event of the journal differently, with a checksum that fits."""
    lines = []
    done = False
    for event, when in journal.read(run.journal):
        line = encode(event, when)
        if not done and wanted(event):
            from tuitrain.protocol.codec import seal

            body = json.loads(line)
            del body["crc"]
            edit(body)
            line, done = seal(body), True
        lines.append(line + "\n")
    assert done
    run.journal.write_text("".join(lines))


def test_the_first_difference_is_reported(start: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = start()
    run.to_step(40)
    run.stop()

    def edit(body: dict[str, Any]) -> None:
        body["loss"][-1] += 1e-6

    change(run.folder, lambda x: isinstance(x, e.StepsDone), edit)
    told = next(x for x, _ in journal.read(run.folder.journal) if isinstance(x, e.StepsDone))
    last = told.first_step + len(told.loss) - 1
    outcome = reenact(run.folder)
    assert outcome.first is not None
    assert (outcome.first.what, outcome.first.branch, outcome.first.step) == ("loss", 0, last)
    assert main(["reenact", str(run.folder.path)]) == 1
    assert f"first difference: loss of step {last:,} on branch 0" in capsys.readouterr().out


def test_an_intervention_that_did_not_happen_shows(start: Callable[..., Run]) -> None:
    run = start()
    run.to_step(20)
    run.answer(c.SetKnob, name="lr", value=0.02)
    run.to_step(40)
    run.stop()

    def edit(body: dict[str, Any]) -> None:
        body["new"] = 0.021

    change(run.folder, lambda x: isinstance(x, e.KnobChanged), edit)
    outcome = reenact(run.folder)
    assert outcome.first is not None and 20 < outcome.first.step <= 23


def test_the_command_says_what_was_compared(start: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = start()
    run.to_step(30)
    run.answer(c.ScaleKnob, name="lr", factor=0.5)
    run.to_step(40)
    run.stop()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in run.folder.path.rglob("*"))
    assert main(["reenact", str(run.folder.path)]) == 0
    out = capsys.readouterr().out
    assert "1 intervention (1 KnobChanged)" in out and out.endswith("differences 0\n")
    assert main(["reenact", str(run.folder.path), "--steps", "12"]) == 0
    assert "12 steps on 1 branch" in capsys.readouterr().out
    assert sorted((p.name, p.stat().st_mtime_ns) for p in run.folder.path.rglob("*")) == before


def test_what_an_older_journal_does_not_say_is_named(start: Callable[..., Run]) -> None:
    run = start()
    run.to_step(20)
    run.answer(c.Land, steps=50)
    run.to_step(25)
    run.answer(c.Undo)
    run.to_step(30)
    run.stop()

    def edit(body: dict[str, Any]) -> None:
        del body["schedule"], body["point"]

    change(run.folder, lambda x: isinstance(x, e.Undone), edit)
    with pytest.raises(RunError, match="does not say what undoing 'landing over 50 steps' restored"):
        reenact(run.folder)


def test_a_journal_without_the_event_that_moved_it_is_named(start: Callable[..., Run]) -> None:
    run = start()
    run.to_step(30)
    run.answer(c.Rollback, to=10)
    run.to_step(20)
    run.stop()
    kept = [encode(x, when) + "\n" for x, when in journal.read(run.folder.journal) if not isinstance(x, e.RolledBack)]
    run.folder.journal.write_text("".join(kept))
    with pytest.raises(RunError, match="lines of it are missing"):
        reenact(run.folder)
