"""A whole run as events: beginnings, ends, crashes, the guard, a dead consumer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Run
from tuitrain.charlstm import prepare
from tuitrain.charlstm.asides import evaluations
from tuitrain.charlstm.looks import evaluator as evaluation
from tuitrain.charlstm.looks.sampler import Stream
from tuitrain.charlstm.runtime import aside
from tuitrain.diagnosis.analyst import STREAK, Analyst
from tuitrain.diagnosis.guard import Guard
from tuitrain.engine import environment, worker
from tuitrain.engine.budget import Budget
from tuitrain.errors import CheckpointError, CorpusError, UsageError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.run import journal
from tuitrain.run.checkpoints import list_all
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import headline

Start = Callable[..., Run]


def test_a_run_begins_tells_each_step_once_evaluates_samples_saves_and_ends(start: Start) -> None:
    run = start(steps=250, evaluate_every=40, sample_every=50, checkpoint_every=60)
    ended = run.finish()
    assert (ended.reason, ended.exit_code, ended.step) == ("finished", 0, 250)
    assert sorted(run.losses()) == list(range(1, 251))
    assert {x.step for x in run.of(e.Evaluated)} >= {10, 40, 80, 120, 250}
    drawn = run.of(e.SampleDrawn)
    assert {x.temperature for x in drawn} == {0.5, 0.75, 1.0}
    pieces = "".join(p.text for p in run.of(e.SamplePiece) if (p.step, p.temperature) == (drawn[0].step, 0.5))
    assert pieces == drawn[0].text and len(pieces) == TINY["sample_length"]
    assert list_all(run.folder.checkpoints)[-1].step == 250
    epochs = run.of(e.EpochEnded)
    assert [x.epoch for x in epochs] == [1] and epochs[0].step == run.machine.steps_per_epoch
    assert epochs[0].loss == pytest.approx(sum(run.losses()[s] for s in range(1, epochs[0].step + 1)) / epochs[0].step)


def test_samples_and_evaluations_do_not_change_what_is_learned(start: Start) -> None:
    busy = start(run="busy", steps=40, evaluate_every=5, sample_every=3, checkpoint_every=7, dropout=0.2)
    busy.finish()
    calm = start(run="calm", steps=40, dropout=0.2)
    calm.finish()
    assert busy.losses() == calm.losses()


def test_evaluations_that_overlap_do_not_mix_their_weights(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 8)
    run = start(val=0.5)
    assert run.evaluations._evaluator.slices() > 5
    run.to_step(3)
    first = run.ask(c.Evaluate)
    run.answer(c.Pause)
    alone = run.until(lambda x: getattr(x, "id", "") == first)
    run.answer(c.Continue)
    run.answer(c.Rollback, to=0)
    run.to_step(alone.step)
    again = run.ask(c.Evaluate)
    list(run.trainer.orders.obey())
    for _ in range(3):  # slices of the first, while the second is asked for at other weights
        run.to_step(run.machine.progress.step + 1)
        run.evaluations.start("asked for")
    run.to_step(run.machine.progress.step + 60)
    told = next(x for x in run.events if isinstance(x, e.Evaluated) and x.id == again)
    assert told.step == alone.step and told.loss == alone.loss


def test_an_evaluation_that_is_due_takes_few_slices_after_each_step_and_ends_before_the_next(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 4)
    run = start(val=0.5, evaluate_every=90)
    slices = run.evaluations._evaluator.slices()
    run.to_step(89)
    taken = len(run.of(e.Evaluated))
    run.to_step(90)
    assert len(run.of(e.Evaluated)) == taken and run.evaluations.busy
    run.to_step(90 + 25)
    assert run.evaluations.busy
    run.to_step(90 + 32)
    told = run.of(e.Evaluated)[-1]
    assert slices > 10 and not run.evaluations.busy and (told.step, told.part) == (90, False)


def test_an_evaluation_slower_than_its_interval_is_ended_before_the_next_and_none_is_refused(start: Start) -> None:
    run = start(val=0.5, evaluate_every=1)
    run.to_step(12)
    assert [x.step for x in run.of(e.Evaluated)] == list(range(1, 12 + 1 - run.evaluations.busy))


def test_a_part_is_measured_often_is_never_the_best_and_moves_no_schedule(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "steps_between_parts", lambda config, validation: 8)
    monkeypatch.setattr(evaluation, "PART_ROWS", 5)
    run = start(val=0.5, lr_schedule="plateau", lr_patience=1, evaluate_every=40)
    run.to_step(39)
    parts = [x for x in run.of(e.Evaluated) if x.part]
    assert [x.step for x in parts] == [2, 4, 8, 16, 24, 32]
    assert not any(x.best for x in parts) and all(x.characters == 5 * 96 for x in parts)
    whole = [x for x in run.of(e.Evaluated) if not x.part]
    assert [x.step for x in whole] == [10] and run.evaluations.best == whole[0].loss
    assert run.machine.schedule.state()["plateau_best"] == whole[0].loss


def test_the_line_of_an_epoch_has_the_newest_validation_and_says_how_old_it_is(start: Start) -> None:
    run = start(evaluate_every=30)
    run.to_step(run.machine.steps_per_epoch)
    [epoch] = run.of(e.EpochEnded)
    whole = [x for x in run.of(e.Evaluated) if not x.part]
    assert epoch.step - 30 <= epoch.val_step <= epoch.step
    assert epoch.val_loss == next(x.loss for x in whole if x.step == epoch.val_step)
    age = epoch.step - epoch.val_step
    assert headline(epoch).endswith(f"bpc of {age:,} steps ago" if age else "bpc")


def test_after_a_resume_and_after_a_rollback_an_epoch_has_the_validation_of_its_own_line(
        start: Start, resume: Start) -> None:
    run = start(evaluate_every=30)
    run.to_step(40)
    run.stop()
    known = run.evaluations.newest
    again = resume(run.folder)
    assert known is not None and again.evaluations.newest == known
    epoch = again.trainer.complete(again.trainer._end_epoch())
    assert (epoch.val_step, epoch.val_loss) == known[1:]
    again.to_step(85)
    assert again.evaluations.newest[1] > known[1]
    again.answer(c.Rollback, to=40)
    assert again.evaluations.newest == known, "what was measured on the line that was left is not this one's"


class Clock:
    """A clock that work moves: a step, a slice of an evaluation and a piece of a sample take made-up seconds."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch, *, step: float, slice: float, piece: float) -> None:
        self.now, self.slice = 0.0, slice
        learn, read, advance = run.machine.learn, run.evaluations._evaluator.run, Stream.advance

        def timed_learn() -> None:
            self.now += step
            learn()

        def timed_run(*args: Any, **options: Any) -> Iterator[Any]:
            for sums in read(*args, **options):
                self.now += self.slice
                yield sums

        def timed_advance(*args: Any) -> Any:
            self.now += piece
            return advance(*args)

        monkeypatch.setattr(run.machine, "learn", timed_learn)
        monkeypatch.setattr(run.evaluations._evaluator, "run", timed_run)
        monkeypatch.setattr(Stream, "advance", timed_advance)
        for holder in (run.evaluations, run.samples):
            monkeypatch.setattr(holder, "_clock", lambda: self.now)
        run.samples._since = 0.0
        run.trainer._budget = Budget(120.0, lambda: self.now)
        run.trainer._budget.begin(run.machine.progress.step)


@pytest.mark.parametrize(("grows", "cut"), [(1.0, False), (8.0, True)])
def test_minutes_end_the_whole_run_with_its_last_evaluation_and_samples(
        start: Start, monkeypatch: pytest.MonkeyPatch, grows: float, cut: bool) -> None:
    """Training ends early enough for them; where they take far longer than before, they are cut short, which is said.
    """
    monkeypatch.setattr(evaluation, "CHUNK", 8)
    monkeypatch.setattr(evaluation, "PART_LENGTH", 8)
    monkeypatch.setattr(evaluation, "PART_ROWS", 5)
    run = start(val=0.5, minutes=2.0, evaluate_every=60, sample_every=50)
    clock = Clock(run, monkeypatch, step=0.3, slice=0.25, piece=0.1)
    assert run.evaluations._evaluator.slices() > 5
    last = run.evaluations.closing_seconds
    assert last == 0.0, "nothing was measured yet"

    def training_is_nearly_over(_: e.Event) -> bool:
        return clock.now > 100

    run.until(training_is_nearly_over)
    assert run.evaluations.closing_seconds == pytest.approx(0.25 * run.evaluations._evaluator.slices(), rel=0.5)
    clock.slice *= grows
    ended = run.finish()
    assert ended.reason == "finished" and clock.now == pytest.approx(120.0, rel=0.05)
    said = [x.text for x in run.of(e.EngineSaid) if "minutes are over" in x.text]
    whole = [x for x in run.of(e.Evaluated) if x.step == ended.step and not x.part]
    assert bool(said) == cut and len(whole) == (not cut)
    assert not run.evaluations.busy and not run.samples.busy
    assert [x.step for x in run.of(e.Evaluated)][-1] == ended.step, "a part at least"


@pytest.mark.parametrize(("kind", "what", "values"), [
    (c.DrawSample, "samples", {}), (c.Evaluate, "validation", {}), (c.SaveCheckpoint, "checkpoint", {}),
    (c.KeepBlackBox, "black box", {"onset": 2})])
def test_a_long_answer_says_at_once_that_it_is_on_its_way_and_how_far(
        start: Start, monkeypatch: pytest.MonkeyPatch, kind: type[c.Command], what: str, values: dict[str, int]
        ) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 4)
    run = start(val=0.5, sample_length=4000)
    run.to_step(5)
    id = run.ask(kind, **values)
    run.until(lambda x: getattr(x, "id", "") == id)
    told = [x for x in run.of(e.WorkAdvanced) if x.answers == id]
    assert {x.what for x in told} == {what} and told[0].done == 0
    done = [x.done for x in told]
    assert done == sorted(done) and all(x.done <= x.of for x in told)
    if what in ("samples", "validation"):
        assert len(told) > 1 and done[-1] > 0
    state = RunState()
    for event in run.events:
        state.fold(event)
        if event is told[-1]:
            assert state.work is not None and state.work.what == what
    assert not state.work, "it is answered"


def test_quick_steps_are_thinned_but_loss_and_norm_are_kept(start: Start) -> None:
    run = start(steps=200)
    run.finish()
    for told in run.of(e.StepsDone):
        steps = range(told.first_step, told.first_step + len(told.loss))
        kept = [s for s in steps if (s - 1) % told.every == 0]
        assert len(told.grad_norm) == len(steps) and len(told.lr) == len(kept) == len(told.clipped)
        assert all(len(v) == len(kept) for v in told.norms.values())
        assert set(told.norms) == {"embedding", "layer 1", "layer 2", "head"}


def test_skipped_steps_are_told_and_the_guard_rolls_back_then_gives_up(start: Start) -> None:
    run = start()
    run.to_step(130)
    run.machine.learner.on_gradients = lambda: run.machine.model.head.weight.grad.fill_(float("nan"))
    run.to_step(130 + STREAK + 5)
    run.events += list(run.trainer.reporter.flush())
    skipped = run.of(e.StepSkipped)
    assert sum(s.count for s in skipped) == STREAK + 5 and skipped[-1].streak == STREAK + 5
    assert skipped[0].onset == 131 and skipped[0].rule == "non_finite" and "131" in skipped[0].sentence
    norms = {step: norm for told in run.of(e.StepsDone) for step, norm in enumerate(told.grad_norm, told.first_step)}
    assert f"{norms[130]:.3g} before it" in skipped[0].sentence
    analyst, guard = Analyst(), Guard("rollback")
    found = [finding for event in run.events for finding in analyst.consider(event)]
    alarm = next(x for x in found if isinstance(x, f.AlarmRaised))
    assert alarm.rule == "non_finite" and alarm.onset == 131
    assert [x.cause for x in found if isinstance(x, f.VerdictReached)][-1] == "non_finite"
    asked = [command for event in found for command in guard.react(event)]
    back = next(a for a in asked if isinstance(a, c.Rollback))
    assert back.lr_factor == 0.25 and back.by == "guard" and back.to == 31


def make_worker(folder: RunDirectory, corpus: Path, **options: object) -> worker.Worker:
    folder.create()
    return aside(lambda: prepare.start(prepare.plan({**TINY, "corpus": str(corpus), **options}), folder))


def test_the_thread_trains_while_a_dead_consumer_never_reads(tmp_path: Path, corpus: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "QUEUE_LENGTH", 5)
    made = make_worker(RunDirectory(tmp_path / "r"), corpus, steps=80, sample_every=5)
    dead, living = made.feed(), made.feed()
    made.start()
    assert made.join(60)
    assert dead.lost > 0 and len(dead.drain()) == 5
    kept = [event for event, _ in journal.read(tmp_path / "r" / "journal.jsonl")]
    assert isinstance(kept[-1], e.RunEnded) and sum(len(x.loss) for x in kept if isinstance(x, e.StepsDone)) == 80
    assert any(isinstance(event, e.RunEnded) for event in living.drain())
    assert not any(isinstance(event, e.SamplePiece) for event in kept)


@pytest.mark.parametrize(("error", "words"), [
    (ValueError("a cosmic ray"), "ValueError: a cosmic ray"),
    (MemoryError(), "memory ran out (MemoryError): free some, or"),
    (RuntimeError("CUDA out of memory. Tried"), "memory ran out (RuntimeError: CUDA out of memory. Tried): free")])
def test_a_crash_is_an_event_with_its_traceback(tmp_path: Path, corpus: Path, error: Exception, words: str) -> None:
    made = make_worker(RunDirectory(tmp_path / "r"), corpus)

    def explode() -> None:
        raise error

    made.trainer.machine.learner.on_gradients = explode
    feed = made.feed()
    made.start()
    assert made.join(60)
    ended = feed.drain()[-1]
    assert isinstance(ended, e.RunEnded) and (ended.reason, ended.exit_code) == ("crashed", 1)
    assert words in ended.message and "in explode" in ended.traceback


def test_a_damaged_checkpoint_falls_back_to_the_one_before(start: Start, resume: Start) -> None:
    run = start(steps=50, checkpoint_every=20, evaluate_every=100_000)
    run.finish()
    marks = list_all(run.folder.checkpoints)
    newest = run.folder.checkpoints / f"{marks[-1].name}.safetensors"
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1
    newest.write_bytes(data)
    again = resume(run.folder, steps=80)
    before = max(mark.step for mark in marks if mark.step < 50)
    assert again.machine.progress.step == before and again.machine.progress.branch == 1
    assert any("damaged" in x.text for x in again.of(e.EngineSaid))


def test_resume_refuses_another_text_and_an_empty_run(start: Start, resume: Start, tmp_path: Path) -> None:
    run = start(steps=10)
    run.finish()
    other = tmp_path / "other.txt"
    other.write_text("something else entirely, " * 30)
    with pytest.raises(CorpusError, match="sha256"):
        resume(run.folder, corpus_path=str(other))
    with pytest.raises(UsageError, match="absolute"):
        resume(run.folder, steps=5)
    for path in run.folder.checkpoints.iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match="before its first checkpoint"):
        resume(run.folder)


def test_another_machine_is_said_to_be_not_bit_identical(
        start: Start, resume: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=10)
    run.finish()
    monkeypatch.setattr(environment, "_cpu", lambda: "Another Processor")
    opening = resume(run.folder, steps=20).of(e.RunResumed)[0]
    assert not opening.exact and "Another Processor" in opening.why_not


def test_a_checkpoint_is_compared_with_where_it_was_written_not_with_where_the_run_began(
        start: Start, resume: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(steps=10)
    run.finish()
    monkeypatch.setattr(environment, "_cpu", lambda: "Another Processor")
    resume(run.folder, steps=20).finish()
    assert resume(run.folder, steps=30).of(e.RunResumed)[0].exact
    monkeypatch.undo()
    opening = resume(run.folder, steps=40).of(e.RunResumed)[0]
    assert not opening.exact and "cpu was Another Processor" in opening.why_not


def test_a_short_text_shrinks_the_batch_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("the tide came late. " * 8)
    plan = prepare.plan({**TINY, "corpus": str(path), "batch_size": 64, "bptt": 50})
    assert plan.config.batch_size < 64 and any("short" in r for r in plan.remarks)
    folder = RunDirectory(tmp_path / "r")
    folder.create()
    run = Run(prepare.start(dataclass_steps(plan, 20), folder), folder)
    assert run.finish().step == 20


def dataclass_steps(plan: prepare.Plan, steps: int) -> prepare.Plan:
    import dataclasses

    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, steps=steps))


def test_a_budget_in_minutes_becomes_steps_and_is_corrected(start: Start) -> None:
    run = start(minutes=1.0)
    assert 30.0 <= run.of(e.RunStarted)[0].facts["seconds"] <= 60.0
    first = run.machine.knobs.steps
    now = [0.0]
    run.trainer._budget = Budget(60.0, lambda: now[0])
    while run.machine.progress.step < 100:
        now[0] += 0.1  # six seconds of the minute in the first 60 steps
        run.to_step(run.machine.progress.step + 1)
    changed = [x for x in run.of(e.KnobChanged) if x.name == "steps"]
    assert changed and changed[0].by == "budget" and first > 0
    assert run.machine.knobs.steps == pytest.approx(600, rel=0.1)
    assert isinstance(run.answer(c.Undo), e.CommandRefused), "a correction is nobody's intervention"


def test_a_branch_without_steps_is_resumed_as_it_was(start: Start, resume: Start) -> None:
    run = start(steps=1000, checkpoint_every=100_000, evaluate_every=100_000)
    run.to_step(30)
    run.answer(c.Pause)
    back = run.answer(c.Rollback, to=20)
    run.stop()
    opening = resume(run.folder).of(e.RunResumed)[0]
    assert (opening.branch, opening.step) == (back.branch, 20)


def test_a_run_in_epochs_is_resumed_to_a_later_epoch(start: Start, resume: Start) -> None:
    run = start(epochs=2.0)
    run.to_step(20)
    run.stop()
    again = resume(run.folder, epochs=3.5)
    assert again.machine.knobs.steps == round(3.5 * again.machine.steps_per_epoch) > 2 * again.machine.steps_per_epoch
    again.stop()
    with pytest.raises(UsageError, match=r"--epochs 0\.001: .* in epoch .* --epochs is the absolute last"):
        resume(run.folder, epochs=0.001)
    with pytest.raises(UsageError, match="give one of them"):
        resume(run.folder, epochs=9.0, steps=9000)


@pytest.mark.parametrize("end", [{"epochs": 0.3}, {"minutes": 0.01}], ids=str)
def test_a_run_with_an_end_in_epochs_or_minutes_goes_on(
        start: Callable[..., Run], resume: Callable[..., Run], end: dict[str, float]) -> None:
    run = start(**end)
    assert run.machine.config.steps > 0
    run.stop()
    assert resume(run.folder).machine.config.steps == run.machine.config.steps
