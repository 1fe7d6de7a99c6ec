"""After a rollback, an undo or a resume every number shown belongs to the line that led there; none is lost."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.telemetry.test_telemetry import done, started
from tests.ui.ills import LAYER
from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.line import LEFT, Line, _short
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number

KNOBS = {"lr": 0.01, "clip": 1.0}


def back(state: RunState, to: int, parent: int | None, **knobs: float) -> e.RolledBack:
    branch = max([state.branch, *state.lineage.forks], default=0) + 1
    return e.RolledBack(from_branch=state.branch, from_step=state.step, to_step=to, branch=branch, id="", by="you",
                        asked=None, knobs={**KNOBS, **knobs}, point="s1", parent=parent)


def measured(branch: int, step: int, loss: float) -> list[e.Event]:
    """All that is told of a step: validation, a look inside, readings, a sample, a warning and a verdict."""
    at = {"branch": branch, "step": step}
    return [
        e.Evaluated(**at, loss=loss, bpc=loss, best=False, characters=9, reason="", seconds=1.0),
        e.Evaluated(**at, loss=loss + 0.1, bpc=loss, best=False, characters=3, reason="", seconds=1.0, part=True),
        f.Probed(**at, loss=loss, entropy=1.0, layers=({**LAYER, "radius": float(step)},), reason="", seconds=0.1),
        f.Measured(branch=branch, first_step=step, every=5, weights={"layer 1": (float(step),)},
                   update_ratio={"layer 1": (step / 1e6,)}, rms={}, gates={}),
        e.SampleDrawn(**at, temperature=1.0, prompt="", text=f"of {branch} at {step}", health={"gibberish": loss}),
        f.WarningRaised(**at, onset=step, rule="spike", value=1.0, threshold=1.0, sentence="s"),
        f.VerdictReached(**at, onset=step, cause="lr_too_high", sentence="", evidence=(), runner_up="", against="",
                         remedy="", alarming=True)]


def told(state: RunState) -> tuple[object, ...]:
    """The step that each thing shown as present is of."""
    health = state.health
    texts = [t.step for t in state.story.texts if state.lineage.holds(t.branch, t.step)]
    return (state.val_step, state.validation.newest_part and state.validation.newest_part[0],
            health.probe and health.probe.step, round(health.updates.get("layer 1", 0) * 1e6),
            health.verdict and health.verdict.step,
            health.warnings[-1].step if health.warnings else None, texts[-1] if texts else None,
            *{points[-1][0] if points else None for name, points in health.curves.items()
              if name in ("radius", "weights", "gibberish")})


def ran(state: RunState, first: int, last: int, loss: float, branch: int) -> None:
    for at in range(first, last + 1, 50):
        state.fold(done(at, [loss] * min(50, last - at + 1), branch))


@pytest.fixture
def three() -> RunState:
    """Branch 0 to 600, branch 1 from 300 to 800 (by its own hand), branch 2 from 500 to 690, which collapses."""
    state = started()
    ran(state, 1, 600, 3.0, 0)
    for step in (200, 590):
        for event in measured(0, step, 2.9):
            state.fold(event)
    state.fold(back(state, 300, 0))
    ran(state, 301, 800, 2.0, 1)
    for step in (400, 650):
        for event in measured(1, step, 1.9):
            state.fold(event)
    state.fold(back(state, 500, 1))
    ran(state, 501, 690, 9.0, 2)
    for event in measured(2, 690, 9.1):
        state.fold(event)
    return state


def means(state: RunState) -> list[float]:
    """Mean loss of steps 1, 301, 501 and of the newest."""
    steps, _, _, mean, _ = state.losses.buckets()
    return [float(mean[np.searchsorted(steps, s, "right") - 1]) for s in (1, 310, 510, state.losses.last_step)]


def test_within_a_line_nothing_of_what_was_left_shows_as_present(three: RunState) -> None:
    assert told(three) == (690,) * 8 and three.best_loss == 1.9
    three.fold(back(three, 538, 2))
    assert told(three) == (400,) * 8, "of branch 1, before 500"
    assert means(three) == [3.0, 2.0, 9.0, 9.0] and three.losses.last_step == 538
    assert [line.branch for line in three.left] == [2, 1, 0]


def test_across_branches_a_persons_own_steps_return_and_a_collapse_is_left(three: RunState) -> None:
    three.fold(back(three, 700, 1))
    assert told(three) == (650,) * 8 and three.val_loss == three.best_loss == 1.9
    assert means(three) == [3.0, 2.0, 2.0, 2.0] and three.losses.last_step == 700
    assert three.train_loss == 2.0 and float(three.losses.buckets()[2].max()) == 3.0
    ran(three, 701, 720, 1.8, 3)
    assert three.losses.last_step == 720 and float(three.losses.buckets()[3][-1]) == pytest.approx(1.8, abs=0.3)


def test_an_undone_rollback_brings_all_of_it_back(three: RunState) -> None:
    before, wire = told(three), means(three)
    three.fold(back(three, 700, 1))
    ran(three, 701, 720, 1.8, 3)
    three.fold(e.Undone(id="", by="you", what="rollback", branch=2, step=690, knobs=KNOBS))
    assert (told(three), means(three)) == (before, wire)
    assert [line.branch for line in three.left][:2] == [3, 1] and len(three.left) == LEFT


def test_an_evaluation_that_ends_after_a_rollback_belongs_to_what_was_left(three: RunState) -> None:
    three.fold(back(three, 538, 2))
    for event in measured(2, 680, 0.5):
        three.fold(event)
    assert told(three) == (400,) * 8 and three.best_loss == 1.9


def test_a_warning_on_another_branch_does_not_stand_after_leaving_it(three: RunState) -> None:
    assert three.health.standing is not None and three.health.standing.step == 690
    three.fold(back(three, 790, 1))
    assert three.health.standing is None, "790 is later than 690 and yet on another branch"


def test_a_resume_from_a_checkpoint_before_the_end_opens_a_line(three: RunState) -> None:
    event = e.RunResumed(branch=3, step=500, checkpoint="b1-s500", exact=True, why_not="", config=three.config,
                         vocabulary="", versions={}, device="cpu", threads=1, precision="fp32", facts={}, parent=1)
    for parent in (1, None):
        state = RunState.from_wire(three.to_wire())
        state.fold(replace(event, parent=parent))
        assert told(state) == (400,) * 8 and state.losses.last_step == 500 and means(state)[2:] == [2.0, 2.0]


def test_lines_travel(three: RunState) -> None:
    three.fold(back(three, 700, 1))
    wired = RunState.from_wire(json.loads(codec.seal({"state": three.to_wire()}))["state"])
    assert wired.to_wire() == three.to_wire() and told(wired) == told(three) and means(wired) == means(three)
    for state in (three, wired):
        state.fold(e.Undone(id="", by="you", what="rollback", branch=2, step=690, knobs=KNOBS))
    assert wired.to_wire() == three.to_wire() and means(wired) == means(three)


def test_what_is_kept_of_many_branches_is_bounded(three: RunState) -> None:
    size = 0
    for _ in range(120):
        three.fold(back(three, 650, 1))
        ran(three, 651, 700, 1.9, three.branch)
        for event in measured(three.branch, 690, 2.5):
            three.fold(event)
        size = len(codec.seal({"state": three.to_wire()}))
    assert len(three.left) == LEFT and size < 512 << 10
    assert len(three.validation.taken) <= 800


def test_a_wire_with_more_than_a_state_holds_is_refused(three: RunState) -> None:
    wire = three.to_wire()
    for bad in ({"lines": wire["lines"] * 3}, {"validation": wire["validation"] * 200}, {"layout": 1}, {"lines": []}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            RunState.from_wire({**wire, **bad})


def test_steps_that_the_journal_lost_stay_unknown() -> None:
    state = started()
    state.fold(done(1, [2.0] * 10))
    state.fold(done(21, [4.0] * 10))
    _, _, _, mean, bad = state.losses.buckets()
    assert state.losses.last_step == 30 and float(mean[25]) == 4.0 and math.isnan(mean[15]) and not bad.any()


def test_a_clip_is_set_where_this_line_has_it_from(three: RunState) -> None:
    three.fold(e.KnobChanged(branch=2, step=690, name="clip", old=1.0, new=0.5, id="", by="you"))
    assert three.clip_set == (2, 690)
    three.fold(back(three, 700, 1, clip=0.5))
    assert three.clip_set == (3, 700), "step 690 of branch 2 is not on this line"
    three.fold(back(three, 600, 1, clip=0.5))
    assert three.clip_set == (4, 600)
    three.fold(e.Undone(id="", by="", what="clip", branch=4, step=600, knobs=KNOBS))
    assert three.clip_set == (4, 600) and three.knobs["clip"] == 1.0


@pytest.mark.parametrize("value", [0.0037749, 3.3e-8, 1e-4 / 3, 12345.678, 7.0])
def test_a_number_crosses_the_wire_as_the_float32_it_is(value: float) -> None:
    """Rounded to six decimals 0.0037749 was 0.003775: another third digit for a cockpit that attached."""
    exact = float(np.float32(value))
    assert np.float32(_short(exact)) == np.float32(exact)


def test_a_groups_norm_has_the_same_three_digits_for_whoever_attached_later() -> None:
    line = Line()
    line.learned(e.StepsDone(branch=0, first_step=1, epoch=0.0, loss=(2.0,), grad_norm=(1.0,), every=1, clipped=(0,),
                             skipped=(0,), lr=(0.1,), clip=(1.0,), norms={"head": (0.0661499,)}, seconds=0.1))
    late = Line.from_wire(line.to_wire())
    shown = [number(float(one.norms["head"].last()[-1])) for one in (line, late)]
    assert shown == ["0.0661", "0.0661"]  # rounded to four digits on its way, it would be 0.0662
