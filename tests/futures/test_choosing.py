"""An arm that was chosen is the run: all its steps are in the journal, and training goes on after them bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.futures.conftest import MIDDLE, save_now
from tests.futures.test_race import race_of
from tuitrain.charlstm.reenactment import reenact
from tuitrain.cli.main import main
from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import RunError
from tuitrain.futures import choosing
from tuitrain.futures.aside import Futures
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.recording.past import Past
from tuitrain.run import checkpoints, journal, verify
from tuitrain.run.directory import RunDirectory

STEPS = 20
END = MIDDLE + STEPS


def hosted(run: Run) -> Run:
    """A run as its host runs it: it knows what to do with arms."""
    run.trainer.asides = (*run.trainer.asides, Futures(run.trainer, run.folder))
    return run


def told(folder: RunDirectory, branch: int) -> dict[int, float]:
    """Loss by step of a branch, as the journal has them."""
    return {event.first_step + i: loss for event, _ in journal.read(folder.journal)
            if isinstance(event, e.StepsDone) and event.branch == branch for i, loss in enumerate(event.loss)}


def test_the_steps_of_the_arm_are_the_runs_and_it_goes_on_as_the_arm_would(
        ended: Run, resume: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    contest = race_of(ended, Arm(lr="x0.5", clip="0.05"), steps=STEPS)
    arm = contest.run()[1]
    assert main(["futures", str(ended.folder.path), "--choose", "2"]) == 0
    out, err = capsys.readouterr()
    assert f"arm from-{MIDDLE}-1/2-clip-0.05-lr-x0.5 chosen: its steps from {MIDDLE} on are branch 1" in out
    assert f"goes on from step {END}" in err
    assert list(told(ended.folder, 1).values()) == arm.losses
    assert all(found.state != verify.DAMAGED for found in verify.check(ended.folder, lambda kept: "text"))

    def ten_more(folder: RunDirectory) -> Run:  # one run after the other: they share torch's generator
        run = resume(folder)
        assert run.machine.progress.step == END, "no step is trained twice"
        run.to_step(END + 10)
        run.events += list(run.trainer.reporter.flush())
        return run

    again = ten_more(ended.folder)
    alone = ten_more(RunDirectory(contest.folder / "2-clip-0.05-lr-x0.5"))
    assert again.losses(1) == alone.losses() and len(again.losses(1)) == 10
    state = Past(ended.folder).state
    assert state.branch == 1 and list(state.loss.last(STEPS + 10))[:STEPS] == pytest.approx(arm.losses, rel=1e-6)
    again.stop()
    assert reenact(ended.folder).first is None, "a later training by the journal has the arm's moments too"


def test_a_living_run_takes_over_an_arm_between_two_steps_and_undo_comes_back(ended: Run, resume: Callable[..., Run]
                                                                              ) -> None:
    race_of(ended, Arm(lr="x0.5"), steps=STEPS).run()
    run = hosted(resume(ended.folder))
    run.to_step(110)
    answer: Any = run.answer(c.ChooseArm, arm=choosing.find(ended.folder, "lr x0.5"))
    assert isinstance(answer, e.RolledBack)
    assert (answer.from_step, answer.to_step, answer.parent) == (110, MIDDLE, 0)
    run.answer(c.AddNote, text="after")
    assert run.machine.progress.branch == answer.branch and run.machine.progress.step >= END
    assert run.trainer.saves._saver.wait(60)
    assert any(mark.step == END and mark.branch == answer.branch and mark.pinned
               for mark in checkpoints.list_all(run.folder.checkpoints))
    undone = run.answer(c.Undo)
    assert isinstance(undone, e.Undone) and (undone.branch, undone.step) == (0, 110)


def test_a_run_that_has_reached_its_last_step_can_still_go_on_with_an_arm(
        start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    run = start(steps=40, on_divergence="warn")
    run.to_step(20)
    save_now(run)
    run.finish()
    contest = race_of(run, Arm(lr="x0.5"), steps=10, at=20)
    contest.run()
    assert main(["futures", str(run.folder.path), "--choose", f"{contest.folder.name}/2"]) == 0
    again = resume(run.folder)
    assert again.machine.progress.step == 30 and again.machine.knobs.steps == 40


def test_what_cannot_be_chosen_is_said_and_the_run_stays(ended: Run, resume: Callable[..., Run],
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    contest = race_of(ended, steps=STEPS)
    contest.run()
    for name, text in (("9", "has no arm '9'; there are 1-as-it-is"), ("no/1", "has no arm 'no/1'")):
        with pytest.raises(RunError, match=text):
            choosing.find(ended.folder, name)
    for mark in checkpoints.list_all(RunDirectory(contest.folder / "1-as-it-is").checkpoints)[1:]:
        checkpoints.delete(contest.folder / "1-as-it-is" / "checkpoints", mark)
    run = hosted(resume(ended.folder))
    refused: Any = run.answer(c.ChooseArm, arm=f"{contest.folder.name}/1-as-it-is")
    assert "was not trained to an end" in refused.reason
    assert "there is no arm '../..'" in run.answer(c.ChooseArm, arm="../..").reason
    assert run.machine.progress.branch == 0
    run.stop()
    assert main(["futures", str(ended.folder.path), "--choose", "1"]) == 1
    assert "was not trained to an end" in capsys.readouterr().err


def test_an_arm_of_another_run_is_not_ours(ended: Run, start: Callable[..., Run], resume: Callable[..., Run],
                                           tmp_path: Path) -> None:
    contest = race_of(ended, steps=STEPS)
    contest.run()
    other = start(run="other", steps=0)
    (other.folder.path / "futures").mkdir()
    contest.folder.rename(other.folder.path / "futures" / contest.folder.name)
    other.stop()
    refused: Any = hosted(resume(other.folder)).answer(c.ChooseArm, arm=f"{contest.folder.name}/1-as-it-is")
    assert "is of another run" in refused.reason
