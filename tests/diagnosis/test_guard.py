"""The guard: what it asks for at a warning, an alarm and a verdict, in each mode, and how it waits for a person."""

import dataclasses

import pytest

from tuitrain.diagnosis.guard import COUNTDOWN, REST, Guard
from tuitrain.diagnosis.remedy import LR_FACTORS
from tuitrain.errors import DIVERGED
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f

SPIKE = f.WarningRaised(branch=0, step=9000, onset=9000, rule="spike", value=80.0, threshold=20.0, sentence="")
ADVICE = f.AdviceGiven(branch=0, step=9000, knob="clip", value=0.9, low=0.2, high=0.9, sentence="")
BACK = e.RolledBack(from_branch=0, from_step=9, to_step=1, branch=1, id="", by="guard", knobs={}, asked=None, point="")


def alarm(step: int = 10_020) -> f.AlarmRaised:
    return f.AlarmRaised(branch=0, step=step, onset=step - 20, rule="level", value=2.0, threshold=1.9, sentence="")


def verdict(step: int = 10_020, cause: str = "lr_too_high") -> f.VerdictReached:
    return f.VerdictReached(branch=0, step=step, onset=step - 20, cause=cause, sentence="", evidence=("a", "b"),
                            runner_up="dead", against="", remedy="", alarming=True)


def asked(guard: Guard, *events: e.Event) -> list[c.Command]:
    return [command for event in events for command in guard.react(event)]


@pytest.mark.parametrize(("mode", "kinds"), [
    ("warn", [c.KeepBlackBox, c.LookInside]), ("pause", [c.KeepBlackBox, c.LookInside, c.Pause]),
    ("rollback", [c.KeepBlackBox, c.LookInside, c.Rollback]), ("stop", [c.KeepBlackBox, c.LookInside, c.Stop])])
def test_each_mode(mode: str, kinds: list[type[c.Command]]) -> None:
    got = asked(Guard(mode), alarm(), verdict())
    assert [type(x) for x in got] == kinds and all(x.by == "guard" for x in got)
    if mode == "stop":
        assert isinstance(got[-1], c.Stop) and got[-1].exit_code == DIVERGED


def test_a_warning_pins_a_point_from_before_and_sets_the_clip_only_where_it_may_act() -> None:
    pin, clip = asked(Guard("rollback"), SPIKE, ADVICE)
    assert isinstance(pin, c.PinSnapshot) and pin.to == 8999
    assert isinstance(clip, c.SetKnob) and (clip.name, clip.value) == ("clip", 0.9)
    assert [type(x) for x in asked(Guard("pause"), SPIKE, ADVICE)] == [c.PinSnapshot]
    guard = Guard("rollback")
    asked(guard, e.KnobChanged(branch=0, step=1, name="clip", old=0.0, new=1.0, id="", by="guard"))
    assert asked(guard, ADVICE) == [], "a clip that is near the advised one is left alone"
    assert len(asked(guard, dataclasses.replace(ADVICE, value=0.5))) == 1
    started = e.RunStarted(config={}, vocabulary="", versions={}, device="", threads=1, precision="",
                           facts={"knobs": {"clip_auto": True}})
    assert [type(x) for x in asked(Guard("rollback"), started, SPIKE, ADVICE)] == [c.PinSnapshot]


def test_it_rolls_back_to_before_the_first_spike_then_earlier_and_lower_and_gives_up() -> None:
    guard = Guard("rollback")
    first = asked(guard, SPIKE, ADVICE, alarm(), verdict())[-1]
    assert isinstance(first, c.Rollback) and (first.to, first.lr_factor, first.clip) == (8900, 0.25, 0.9)
    assert first.healthy
    tried = [first]
    for i in range(1, len(LR_FACTORS)):
        again = asked(guard, BACK, alarm(10_020 + 100 * i), verdict(10_020 + 100 * i))[-1]
        assert isinstance(again, c.Rollback) and again.lr_factor == LR_FACTORS[i]
        tried.append(again)
    assert tried[2].to is not None and tried[1].to is not None and tried[2].to < tried[1].to
    last = asked(guard, BACK, alarm(10_400), verdict(10_400))[-1]
    assert isinstance(last, c.Stop) and last.exit_code == DIVERGED
    later = asked(guard, BACK, alarm(20_000), verdict(20_000))[-1]
    assert isinstance(later, c.Rollback) and later.lr_factor == LR_FACTORS[0]


def test_a_pause_waits_for_a_person_and_not_longer() -> None:
    now = [0.0]
    guard = Guard("pause", clock=lambda: now[0])
    asked(guard, e.ClientJoined(by="you", clients=1), alarm(), verdict())
    assert guard.seconds_left == COUNTDOWN and list(guard.tick()) == []
    now[0] = COUNTDOWN - 1
    assert list(guard.tick()) == []
    now[0] = COUNTDOWN
    assert [type(x) for x in guard.tick()] == [c.Rollback, c.Continue] and guard.seconds_left is None
    asked(guard, BACK, alarm(15_000), verdict(15_000))
    asked(guard, e.Continued(branch=0, step=1, id="", by="you"))
    now[0] += 2 * COUNTDOWN
    assert list(guard.tick()) == []


def test_who_answers_a_pause_with_a_rollback_need_not_continue_too() -> None:
    guard = Guard("pause")
    guard.watched = True
    asked(guard, alarm(), verdict())
    assert [type(x) for x in asked(guard, dataclasses.replace(BACK, by="you"))] == [c.Continue]
    assert asked(guard, dataclasses.replace(BACK, by="you")) == []


def test_a_pause_that_nobody_sees_rolls_back_at_once() -> None:
    guard = Guard("pause")
    asked(guard, alarm(), verdict())
    assert [type(x) for x in guard.tick()] == [c.Rollback, c.Continue]
    guard = Guard("pause")
    guard.watched = True
    asked(guard, alarm(), verdict())
    assert list(guard.tick()) == []
    guard.watched = False
    assert [type(x) for x in guard.tick()] == [c.Rollback, c.Continue]


def steps(first: int, count: int = 20) -> e.StepsDone:
    return e.StepsDone(branch=1, first_step=first, epoch=0.5, loss=(1.0,) * count, grad_norm=(0.2,) * count, every=1,
                       clipped=(), skipped=(), lr=(), clip=(), norms={}, seconds=0.1)


def rolled_back(command: c.Command, to: int, lr: float) -> e.RolledBack:
    return dataclasses.replace(BACK, id=command.id, to_step=to, knobs={"lr": lr})


def test_the_rate_of_before_a_sudden_fault_comes_back_by_doubling() -> None:
    guard = Guard("rollback")
    back = asked(guard, alarm(), verdict())[-1]
    assert asked(guard, rolled_back(back, 9900, 0.001), steps(9901, REST - 2)) == []
    [half] = asked(guard, steps(9900 + REST))
    assert isinstance(half, c.SetKnob) and (half.name, half.value) == ("lr", 0.002)
    [whole] = asked(guard, steps(9900 + 2 * REST + 20))
    assert isinstance(whole, c.SetKnob) and whole.value == 0.004
    assert asked(guard, steps(9900 + 9 * REST)) == []


@pytest.mark.parametrize("end", [
    SPIKE, alarm(10_000), e.KnobChanged(branch=1, step=9950, name="lr", old=0.001, new=0.002, id="1", by="you"),
    e.LandingStarted(branch=1, step=9950, steps=100, id="1", by="you"), dataclasses.replace(BACK, by="you")])
def test_the_rate_stays_low_when_trouble_returns_or_somebody_else_steers(end: e.Event) -> None:
    guard = Guard("rollback")
    back = asked(guard, alarm(), verdict())[-1]
    asked(guard, rolled_back(back, 9900, 0.001), end)
    assert not any(isinstance(x, c.SetKnob) for x in asked(guard, steps(9900 + REST), steps(9900 + 5 * REST)))


def test_after_an_explosion_the_rate_stays_low() -> None:
    guard = Guard("rollback")
    back = asked(guard, alarm(), verdict(cause="exploding_gradient"))[-1]
    assert asked(guard, rolled_back(back, 9900, 0.001), steps(9900 + REST), steps(9900 + 5 * REST)) == []


def test_a_model_that_learns_nothing_is_not_rolled_back() -> None:
    assert not any(isinstance(x, c.Rollback) for x in asked(Guard("rollback"), alarm(), verdict(cause="plateau")))
