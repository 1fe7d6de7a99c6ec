"""Did that help? Known harm, known help and nothing at all, judged by controls; what cannot be judged says why."""

from collections.abc import Callable

import pytest

from tests import builders
from tests.conftest import Run
from tests.futures.conftest import save_now
from tuitrain.cli.main import main
from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import CheckpointError, RunError
from tuitrain.futures import helping
from tuitrain.futures.helping import History
from tuitrain.futures.race import Plan, Race
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.run import checkpoints, journal
from tuitrain.telemetry.run_state import RunState

BEGIN, MARK, END = 30, 50, 190


def run_with(start: Callable[..., Run], *acts: tuple[int, type[c.Command], dict[str, object]],
             **options: object) -> Run:
    """A run with a checkpoint before its interventions, ended some time after them."""
    run = start(**{"steps": 0, "clip": 1.0, "on_divergence": "warn", **options})
    run.to_step(BEGIN)
    save_now(run)
    for step, kind, values in acts:
        run.to_step(step)
        run.answer(kind, **values)
    run.to_step(END)
    run.events += (last := list(run.trainer.reporter.flush()))
    for event in last:
        run._journal.write(event)
    run.stop()
    run._journal.close()
    return run


def judged(run: Run, at: int | None = None) -> f.InterventionJudged:
    history = History.of(run.folder)
    asked = helping.question(run.folder, history, helping.find(history, at))
    [control] = Race(Plan(asked.point, (Arm(),), asked.length, 0.0), turns=asked.turns).run()
    return helping.answer(history, asked, control)


def test_a_ruinous_rate_has_hurt_and_the_control_is_the_run_until_then(start: Callable[..., Run]) -> None:
    found = judged(run_with(start, (MARK, c.SetKnob, {"name": "lr", "value": 1.0})))
    assert (found.word, found.steps, found.paired) == (f.HURT, END - MARK, True)
    assert found.difference > 3 * found.error > 0 and "bit for bit" not in found.sentence
    assert found.what == "lr 0.01 → 1 by test"


def test_a_rate_of_almost_nothing_that_is_raised_has_helped(start: Callable[..., Run]) -> None:
    found = judged(run_with(start, (MARK, c.SetKnob, {"name": "lr", "value": 0.01}), lr=1e-6))
    assert found.word == f.HELPED and found.difference < 0


def test_a_clip_that_never_acts_makes_no_difference(start: Callable[..., Run]) -> None:
    found = judged(run_with(start, (MARK, c.SetKnob, {"name": "clip", "value": 900.0}), clip=1000.0))
    assert found.word == f.NO_DIFFERENCE and found.difference == 0.0


def test_what_was_turned_before_is_turned_in_the_control_too(start: Callable[..., Run]) -> None:
    run = run_with(start, (40, c.SetKnob, {"name": "lr", "value": 0.03}), (MARK, c.ScaleKnob, {"name": "clip",
                                                                                           "factor": 1e5}))
    history = History.of(run.folder)
    asked = helping.question(run.folder, history, helping.find(history, None))
    assert asked.point.step == BEGIN and asked.turns[40] == {"lr": 0.03} and asked.turns[MARK]["clip"] == 1.0
    assert "bit for bit" not in judged(run).sentence


def test_an_intervention_counts_until_the_next_one(start: Callable[..., Run]) -> None:
    run = run_with(start, (MARK, c.SetKnob, {"name": "lr", "value": 0.02}),
                   (120, c.SetKnob, {"name": "lr", "value": 0.01}))
    history = History.of(run.folder)
    assert [mark.step for mark in history.marks()] == [MARK, 120]
    assert helping.question(run.folder, history, helping.find(history, 60)).steps == 120 - MARK


def test_a_rollback_is_compared_with_the_branch_that_was_left(start: Callable[..., Run]) -> None:
    run = run_with(start, (100, c.Rollback, {"to": 40, "lr_factor": 0.5}))
    found = judged(run)
    assert not found.paired and found.step <= 40 and "other batches" in found.sentence
    assert found.steps == END - found.step and "bit for bit" not in found.sentence


def test_the_word_stands_in_the_journal_the_log_and_at_the_mark(
        start: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(start, (MARK, c.SetKnob, {"name": "lr", "value": 1.0}))
    folder = str(run.folder.path)
    assert main(["helped", folder, "--list"]) == 0
    assert "lr 0.01 → 1 by test" in capsys.readouterr().out
    assert main(["helped", folder]) == 0
    assert "lr 0.01 → 1 by test at step 50: hurt; over 140 steps the loss differs by +" in capsys.readouterr().out
    state = RunState()
    for event, when in journal.read(run.folder.journal):
        state.fold(event, when)
    assert [mark.words for mark in state.story.marks if mark.step == MARK] == ["lr 0.01 → 1 (hurt)"]
    assert "hurt; over" in state.story.entries[-1].words and state.status == "ended"
    again = RunState.from_wire(state.to_wire())
    assert [mark.judged for mark in again.story.marks if mark.step == MARK] == ["hurt"]


def test_what_cannot_be_judged_says_why(start: Callable[..., Run]) -> None:
    run = run_with(start, (END - 5, c.SetKnob, {"name": "lr", "value": 1.0}))
    history = History.of(run.folder)
    with pytest.raises(RunError, match="5 steps up to the next intervention or the end"):
        helping.question(run.folder, history, helping.find(history, None))
    with pytest.raises(RunError, match="at or before step 10 to be judged"):
        helping.find(history, 10)
    early = helping.Mark(0, 60, (e.KnobChanged(branch=0, step=60, name="lr", old=0.01, new=0.02, id="1", by="you"),))
    for mark in checkpoints.list_all(run.folder.checkpoints):
        checkpoints.delete(run.folder.checkpoints, mark)
    with pytest.raises(CheckpointError, match="no checkpoint from before step 60 is left"):
        helping.question(run.folder, history, early)


def test_a_second_answer_takes_the_place_of_the_first_at_the_mark() -> None:
    state = RunState()
    state.fold(builders.START)
    state.fold(e.KnobChanged(branch=0, step=50, name="lr", old=0.1, new=0.2, id="1", by="you"))
    for word in (f.HURT, f.HELPED):
        state.fold(f.InterventionJudged(branch=0, step=50, what="lr", word=word, difference=0.1, error=0.01, steps=99,
                                        paired=True, sentence="s"))
    assert [mark.words for mark in state.story.marks] == ["lr 0.1 → 0.2 (helped)"]
