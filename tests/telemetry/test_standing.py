"""A warning stands until it is answered, outgrown or dismissed; what does none of these leaves it."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.telemetry.test_telemetry import done, started
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.health import OVER
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.standing import LASTS

KNOBS = {"lr": 0.01, "clip": 1.0}


def warned(step: int, rule: str = "spike", threshold: float = 20.0) -> f.WarningRaised:
    return f.WarningRaised(branch=0, step=step, onset=step, rule=rule, value=24.0, threshold=threshold, sentence="s")


def probed(step: int, radius: float) -> f.Probed:
    layer = {"radius": radius, "worst": 1.0, "dead": 0.0, "saturation": {"g": 0.1}}
    return f.Probed(branch=0, step=step, loss=1.0, entropy=1.0, layers=(layer,), reason="interval", seconds=0.1)


def turned(name: str, old: float, new: float, by: str = "you") -> e.KnobChanged:
    return e.KnobChanged(branch=0, step=1001, name=name, old=old, new=new, id="", by=by)


def back(to: int) -> e.RolledBack:
    return e.RolledBack(from_branch=0, from_step=1001, to_step=to, branch=1, id="", by="you", knobs=KNOBS, asked=None,
                        point="s")


def verdict(cause: str) -> f.VerdictReached:
    return f.VerdictReached(branch=0, step=1020, onset=1000, cause=cause, sentence="", evidence=(), runner_up="",
                            against="", remedy="", alarming=False)


def after(*events: e.Event) -> RunState:
    state = started()
    for event in events:
        state.fold(event, 1.0)
    return state


def stands(*events: e.Event) -> bool:
    return after(warned(1000), *events).health.standing is not None


ENDS: list[Iterable[e.Event]] = [
    [turned("clip", 0.0, 1.0)], [turned("clip", 5.0, 1.0, by="guard")], [turned("clip_auto", 0.0, 1.0)],
    [turned("lr", 0.01, 0.005)], [e.LandingStarted(branch=0, step=1001, steps=500, id="", by="you")], [back(900)],
    [e.Dismissed(branch=0, step=1001, id="", by="you")], [done(1000 + LASTS, [1.0])],
    [f.AlarmRaised(branch=0, step=1100, onset=1090, rule="level", value=1, threshold=1, sentence="")]]
LEAVES: list[Iterable[e.Event]] = [
    [], [turned("clip", 1.0, 0.0)], [turned("clip", 1.0, 2.0)], [turned("clip", 5.0, 1.0, by="advisor")],
    [turned("lr", 0.01, 0.02)], [turned("lr", 0.01, 0.01)], [turned("clip_auto", 1.0, 0.0)], [back(1000)],
    [done(1001, [1.0] * 500)], [verdict("outlier_batch")], [probed(1100, 1.0)],
    [warned(1500), done(1000 + LASTS, [1.0])], [e.Continued(branch=0, step=1001, id="", by="you")]]


@pytest.mark.parametrize("events", ENDS)
def test_it_is_answered_outgrown_or_dismissed(events: Iterable[e.Event]) -> None:
    assert not stands(*events)


@pytest.mark.parametrize("events", LEAVES)
def test_it_stands_through_everything_else(events: Iterable[e.Event]) -> None:
    assert stands(*events)


def test_several_are_counted_and_the_newest_is_named() -> None:
    standing = after(warned(1000), warned(1800, "tail"), warned(2500), warned(2600, "outlier")).health.standing
    assert standing is not None
    assert (standing.step, standing.since, standing.count, standing.rule) == (2500, 1000, 3, "spike")
    again = after(warned(1000), e.Dismissed(branch=0, step=1001, id="", by="you"), warned(1800)).health.standing
    assert again is not None and (again.step, again.count) == (1800, 1)


def test_a_recurrence_that_was_warned_of_is_outgrown_when_it_shrinks_and_never_by_time() -> None:
    growth, later = warned(1000, "growth", 30.0), done(1000 + 3 * LASTS, [1.0])
    assert after(growth, probed(2000, 40.0), later).health.standing is not None
    assert after(growth, later, probed(2000, 29.0)).health.standing is None
    spiked = after(growth, warned(1500), later).health.standing
    assert spiked is not None and spiked.radius == 30.0
    assert after(growth, warned(1500), probed(2000, 20.0), later).health.standing is None


def test_one_odd_batch_is_outgrown_by_its_verdict() -> None:
    assert after(warned(1000, "outlier")).health.standing is not None
    assert after(warned(1000, "outlier"), verdict("outlier_batch")).health.standing is None


def test_an_alarm_that_nobody_answers_goes_on_as_a_warning() -> None:
    alarm = f.AlarmRaised(branch=0, step=1100, onset=1090, rule="level", value=1, threshold=1, sentence="the loss left")
    state = after(alarm, done(1100 + OVER + 1, [1.0]))
    standing = state.health.standing
    assert not state.health.broken
    assert standing is not None and standing.lapsed and standing.step == 1100 and standing.sentence == "the loss left"
    state.fold(turned("clip", 1.0, 0.5))
    assert state.health.standing is not None, "a clip does not mend what is broken"
    state.fold(back(1000))
    assert state.health.standing is None


def test_an_alarm_after_which_the_rate_was_lowered_is_not_called_unanswered() -> None:
    alarm = f.AlarmRaised(branch=0, step=1100, onset=1090, rule="level", value=1, threshold=1, sentence="the loss left")
    later = done(1100 + OVER + 1, [1.0])
    for act in (turned("lr", 0.01, 0.005), e.LandingStarted(branch=0, step=1101, steps=500, id="", by="you")):
        assert after(alarm, act).health.broken
        health = after(alarm, act, later).health
        assert health.standing is None and not health.broken
        assert after(act, alarm, later).health.standing is not None


def test_an_alarm_of_steps_that_an_undo_left_is_gone_and_one_of_the_present_ones_stays() -> None:
    alarm = f.AlarmRaised(branch=1, step=1100, onset=1090, rule="level", value=1, threshold=1, sentence="the loss left")
    undone = e.Undone(branch=0, step=1001, id="", by="you", what="rollback", knobs=KNOBS)
    assert after(back(900), alarm).health.broken
    assert not after(back(900), alarm, undone).health.broken
    assert after(replace(alarm, branch=0, step=950), undone).health.broken


def test_an_alarm_is_dismissed_too_unless_the_guard_waits() -> None:
    alarm = f.AlarmRaised(branch=0, step=1100, onset=1090, rule="level", value=1, threshold=1, sentence="")
    dismissed, paused = e.Dismissed(branch=0, step=1101, id="", by="you"), e.Paused(branch=0, step=1101, id="",
                                                                                   by="guard")
    assert not after(alarm, dismissed).health.broken
    assert after(alarm, paused, dismissed).health.broken


def test_it_travels_to_one_who_attaches_late() -> None:
    state = after(warned(1000), warned(1800))
    assert RunState.from_wire(state.to_wire()).health.standing == state.health.standing is not None
