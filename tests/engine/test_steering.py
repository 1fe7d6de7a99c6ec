"""Commands: what each does, what each refuses, and what undo takes back."""

from collections.abc import Callable

import pytest

from tests.conftest import Run
from tuitrain.engine import steering
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e

Start = Callable[..., Run]


def test_relative_turns_start_from_the_engines_own_value(start: Start) -> None:
    run = start()
    a = run.answer(c.ScaleKnob, name="lr", factor=0.5)
    b = run.answer(c.ScaleKnob, name="lr", factor=0.5)
    assert (a.old, a.new, b.old, b.new) == (0.01, 0.005, 0.005, 0.0025)
    assert run.machine.knobs.lr == 0.0025 and b.by == "test"


@pytest.mark.parametrize(("kind", "values", "word"), [
    (c.SetKnob, {"name": "lr", "value": -1.0}, "outside"),
    (c.SetKnob, {"name": "lr", "value": float("nan")}, "finite"),
    (c.SetKnob, {"name": "speed", "value": 1.0}, "no knob"),
    (c.SetKnob, {"name": "temperature", "value": 0.0}, "outside"),
    (c.ScaleKnob, {"name": "clip", "factor": 0.0}, "factor"),
    (c.Rollback, {"to": 10_000}, "past"),
    (c.Rollback, {"point": "s99"}, "no restore point"),
    (c.Rollback, {}, "100 steps old"),
    (c.Undo, {}, "nothing to undo"),
    (c.Land, {"steps": 0}, "1 or more"),
    (c.SetGuardMode, {"mode": "sleep"}, "choose one of"),
    (c.AddNote, {"text": " "}, "characters"),
    (c.Continue, {}, "not paused"),
])
def test_refusals_say_why_and_change_nothing(
        start: Start, kind: type[c.Command], values: dict[str, object], word: str) -> None:
    run = start()
    before = run.machine.knobs
    answer = run.answer(kind, **values)
    assert isinstance(answer, e.CommandRefused) and word in answer.reason and answer.by == "test"
    assert run.machine.knobs == before and run.machine.progress.branch == 0


def test_every_intervention_takes_a_pinned_snapshot_first(start: Start) -> None:
    run = start()
    run.to_step(5)
    run.answer(c.SetKnob, name="clip", value=2.0)
    taken = run.of(e.SnapshotTaken)[-1]
    assert taken.pinned and taken.step == run.of(e.KnobChanged)[0].step
    assert "clip" in taken.reason


def test_rollback_takes_the_smaller_lr_times_the_factor_and_the_clip_asked_for(start: Start) -> None:
    run = start(lr=0.01)
    run.to_step(20)
    run.answer(c.SetKnob, name="lr", value=0.02)
    run.to_step(40)
    back = run.answer(c.Rollback, to=11, lr_factor=0.5, clip=0.25)
    assert back.to_step == 10 and back.asked == 11
    assert run.machine.knobs.lr == 0.005 and run.machine.knobs.clip == 0.25
    run.answer(c.SetKnob, name="lr", value=0.001)
    back = run.answer(c.Rollback, to=10, lr_factor=0.5)
    assert run.machine.knobs.lr == 0.0005 and back.branch == 2


def test_a_rollback_takes_a_rate_of_its_own_a_part_of_the_clip_and_an_automatic_one(start: Start) -> None:
    run = start(lr=0.01, clip=2.0)
    run.to_step(20)
    run.answer(c.Rollback, to=10, lr=0.004, clip_factor=0.5)
    assert run.machine.knobs.lr == 0.004 and run.machine.knobs.clip == 1.0 and not run.machine.knobs.clip_auto
    run.answer(c.Rollback, to=10, clip="auto")
    assert run.machine.knobs.clip_auto
    run.answer(c.Rollback, to=10, clip=0.0)
    assert run.machine.knobs.clip == 0.0 and not run.machine.knobs.clip_auto


def test_a_rollback_keeps_the_present_knobs_never_stale_ones(start: Start) -> None:
    run = start()
    run.to_step(20)
    run.answer(c.SetKnob, name="lr", value=0.003)
    run.answer(c.Rollback, to=10)
    run.machine.learn()
    assert run.machine.knobs.lr == 0.003
    assert run.machine.learner.rows.remembered(1)[-1, 4] == pytest.approx(0.003)


def test_the_last_good_point_is_old_enough_and_near_the_best(start: Start) -> None:
    run = start(snapshot_every=10)
    run.to_step(230)
    back = run.answer(c.Rollback)
    assert back.to_step == 130


def test_a_bad_stretch_is_no_good_point(start: Start) -> None:
    run = start(snapshot_every=10, checkpoint_every=100_000)
    run.to_step(300)
    for point in run.trainer.steering._points:
        if point.snapshot.step > 60:
            point.snapshot.values["progress"]["smooth_loss"] = 9.0
    assert run.answer(c.Rollback).to_step == 60


def test_a_healthy_rollback_never_lands_inside_the_wreck(start: Start) -> None:
    run = start(snapshot_every=10, checkpoint_every=100_000)
    run.to_step(100)
    run.answer(c.SetKnob, name="lr", value=5.0)
    run.to_step(200)
    told = {x.step: x.healthy for x in run.of(e.SnapshotTaken)}
    assert all(told[step] for step in range(10, 101, 10)) and not told[180]
    wreck = next(x.point for x in run.of(e.SnapshotTaken) if x.step == 180)
    refused = run.answer(c.Rollback, point=wreck, healthy=True)
    assert isinstance(refused, e.CommandRefused) and "had broken already" in refused.reason
    back = run.answer(c.Rollback, to=190, healthy=True)
    assert 100 <= back.to_step < 150 and told[back.to_step]
    assert run.answer(c.Rollback, point=wreck).to_step == 180, "who names it gets it"


def test_a_point_amid_steps_without_finite_numbers_is_not_healthy(start: Start) -> None:
    run = start(snapshot_every=10)
    run.to_step(55)
    run.machine.learner.on_gradients = lambda: run.machine.model.head.get_parameter("bias").grad.fill_(float("nan"))
    run.to_step(75)
    told = {x.step: x.healthy for x in run.of(e.SnapshotTaken)}
    assert told[50] and not told[60] and not told[70]
    assert run.answer(c.Rollback, to=75, healthy=True).to_step == 50


def test_undo_of_a_knob_sets_it_back_and_goes_on(start: Start) -> None:
    run = start()
    run.to_step(5)
    run.answer(c.SetKnob, name="lr", value=0.05)
    run.to_step(9)
    undone = run.answer(c.Undo)
    assert isinstance(undone, e.Undone) and "lr" in undone.what
    assert run.machine.knobs.lr == 0.01 and run.machine.progress.branch == 0 and undone.step >= 9


def test_undo_with_the_weights_too_opens_a_branch(start: Start) -> None:
    run = start()
    run.to_step(5)
    turned = run.answer(c.SetKnob, name="lr", value=0.05)
    run.to_step(9)
    undone = run.answer(c.Undo, weights=True)
    assert (undone.branch, undone.step) == (1, turned.step) and run.machine.knobs.lr == 0.01


def test_undo_of_a_rollback_returns_to_the_tip_that_was_left(start: Start) -> None:
    run = start()
    run.to_step(30)
    back = run.answer(c.Rollback, to=10, lr_factor=0.1)
    run.to_step(15)
    undone = run.answer(c.Undo)
    assert (undone.branch, undone.step) == (0, back.from_step) and run.machine.knobs.lr == 0.01
    again = run.answer(c.Rollback, to=10)
    assert again.branch == 2, "branch numbers are never used twice"


def test_undo_of_landing_and_prompt(start: Start) -> None:
    run = start()
    run.answer(c.Land, steps=10)
    assert run.machine.schedule.landing
    run.answer(c.Undo)
    assert not run.machine.schedule.landing
    changed = run.answer(c.SetPrompt, text="the tide")
    assert (changed.old, changed.new) == ("random", "the tide")
    run.answer(c.Undo)
    assert run.machine.knobs.prompt == "random"


def test_presses_within_a_second_are_one_intervention(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    now = [100.0]
    run.trainer.steering._clock = lambda: now[0]
    for _ in range(3):
        run.answer(c.ScaleKnob, name="lr", factor=0.5)
        now[0] += 0.4
    run.answer(c.Undo)
    assert run.machine.knobs.lr == 0.01
    run.answer(c.ScaleKnob, name="lr", factor=0.5)
    now[0] += steering.ONE_TURN
    run.answer(c.ScaleKnob, name="lr", factor=0.5)
    run.answer(c.Undo)
    assert run.machine.knobs.lr == 0.005
    assert [x.since for x in run.of(e.KnobChanged)] == [None, 0.01, 0.01, None, None]


@pytest.mark.parametrize(("kind", "values", "word"), [
    (c.SetKnob, {"name": "clip", "value": 1.0}, "clip is 1 already"),
    (c.ScaleKnob, {"name": "lr", "factor": 1.0}, "lr is 0.01 already"),
    (c.SetPrompt, {"text": "random"}, "the prompt is random already")])
def test_a_value_that_is_there_already_is_said_and_is_no_intervention(
        start: Start, kind: type[c.Command], values: dict[str, object], word: str) -> None:
    run = start(clip=1.0)
    answer = run.answer(kind, **values)
    assert isinstance(answer, e.EngineSaid) and answer.text == word
    assert not run.of(e.KnobChanged) and not [x for x in run.of(e.SnapshotTaken) if x.pinned]
    refused = run.answer(c.Undo)
    assert isinstance(refused, e.CommandRefused)


def test_skipped_batches_are_left_out(start: Start) -> None:
    run = start()
    run.to_step(30)
    run.answer(c.Rollback, to=10, skip_batches=7)
    per_epoch = run.machine.cursor.batches_per_epoch
    done = run.machine.cursor.epoch * per_epoch + run.machine.cursor.index
    assert done == 17


def test_a_rollback_can_reach_a_checkpoint_on_disk(start: Start) -> None:
    run = start(snapshot_every=1000)
    run.to_step(12)
    saved = run.answer(c.SaveCheckpoint)
    assert isinstance(saved, e.CheckpointSaved)
    points = run.trainer.steering._points
    for point in list(points):
        del points._points[point.name]
    run.to_step(run.machine.progress.step + 10)
    back = run.answer(c.Rollback, to=saved.step + 1)
    assert back.to_step == saved.step and back.point.startswith("b0-")


def test_pause_holds_the_step_and_still_samples(start: Start) -> None:
    run = start()
    run.answer(c.Pause)
    at = run.machine.progress.step
    drawn = run.answer(c.DrawSample)
    assert isinstance(drawn, e.SampleDrawn) and len(drawn.text) == 20
    assert isinstance(run.answer(c.Evaluate), e.Evaluated)
    assert isinstance(run.answer(c.Pause), e.CommandRefused)
    assert run.machine.progress.step == at
    assert isinstance(run.answer(c.Continue), e.Continued)


def test_a_restore_points_lineage_excludes_what_was_left(start: Start) -> None:
    run = start()
    run.to_step(40)
    run.answer(c.Rollback, to=10)
    run.to_step(15)
    back = run.answer(c.Rollback, to=run.machine.progress.step)
    assert back.to_step == 10, "points after 10 on branch 0 belong to the future that was left"


def test_an_event_that_opens_a_branch_names_the_one_it_goes_on_from(start: Start) -> None:
    run = start()
    run.to_step(40)
    first = run.answer(c.Rollback, to=10)
    run.to_step(15)
    left = next(x.point for x in run.of(e.SnapshotTaken) if x.branch == 0 and x.step > 10)
    across = run.answer(c.Rollback, point=left)
    assert (first.branch, first.parent) == (1, 0)
    assert (across.from_branch, across.branch, across.parent) == (1, 2, 0), "a point of branch 0, not of the one left"
    assert run.answer(c.Undo).parent is None, "an undone rollback returns to a branch that there was"
    run.answer(c.SetKnob, name="lr", value=0.05)
    assert (undone := run.answer(c.Undo, weights=True)).parent == 1 and undone.branch == 3
