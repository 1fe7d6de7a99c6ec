"""The analyst on events: what it raises and when, whose knob it names, and that it says nothing of a healthy run."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from tests.builders import CONFIG, FACTS
from tuitrain.diagnosis.analyst import PATIENCE, Analyst
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.capabilities import Capabilities, LossUnit
from tuitrain.protocol.facts import AFTER_CLIPPING, BEFORE_CLIPPING

LAYER = {"saturation": {"i": 0.4, "f": 0.7, "g": 0.3, "o": 0.5}, "dead": 0.0, "recurrent_norm": 20.0, "radius": 2.0,
         "first": 1e-5, "peak": 1.0, "worst": 1.0, "memory": 9, "flow": [-1.0, 0.0]}
START = e.RunStarted(config=CONFIG, vocabulary="ab", versions={}, device="cpu", threads=1, precision="fp32",
                     facts={**FACTS, "levels": {"letters alone": 4.2}})


def told(first: int, losses: Iterable[float], norm: float = 0.2) -> list[e.Event]:
    """StepsDone in drains of 25, with readings."""
    values, found = list(losses), []
    rng = np.random.default_rng(first)
    for i in range(0, len(values), 25):
        part = tuple(values[i : i + 25])
        norms = tuple(float(n) for n in norm * rng.lognormal(0, 0.1, len(part)))
        found.append(e.StepsDone(branch=0, first_step=first + i, epoch=0.5, loss=part, grad_norm=norms, every=1,
                                 clipped=(), skipped=(), lr=(), clip=(), norms={}, seconds=0.1))
        found.append(reading(first + i + 4, 0.002))
    return found


def reading(step: int, update: float) -> f.Measured:
    return f.Measured(branch=0, first_step=step, every=5, weights={"layer 1": (20.0,)},
                      update_ratio={"layer 1": (update,)}, rms={"W_hh 1": (0.9,)}, gates={})


def healthy(steps: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 1.4 + 2 * np.exp(-np.arange(steps) / 200) + rng.normal(0, 0.05, steps)


def considered(analyst: Analyst, events: Iterable[e.Event]) -> list[e.Event]:
    return [finding for event in events for finding in analyst.consider(event)]


def test_it_says_nothing_of_a_healthy_run() -> None:
    assert considered(Analyst(), [START, *told(1, healthy(6000))]) == []


def test_an_alarm_waits_for_the_probe_and_gets_a_verdict_and_advice() -> None:
    analyst = Analyst()
    assert considered(analyst, [START, *told(1, healthy(1500))]) == []
    before = f.Probed(branch=0, step=1500, loss=1.4, entropy=1.2, layers=(LAYER,), reason="interval", seconds=0.1)
    considered(analyst, [before])
    found = considered(analyst, [*told(1501, [2.6] * 10 + [2.8] * 15)[:1], reading(1505, 0.06)])
    [alarm] = [x for x in found if isinstance(x, f.AlarmRaised)]
    assert abs(alarm.onset - 1501) <= 2 and alarm.rule == "level" and alarm.value > alarm.threshold
    after = f.Probed(branch=0, step=1526, loss=2.7, entropy=1.0, reason="asked for", seconds=0.1,
                     layers=({**LAYER, "saturation": {**LAYER["saturation"], "g": 0.8}},))  # type: ignore[dict-item]
    advice, verdict = considered(analyst, [after])
    assert isinstance(verdict, f.VerdictReached) and verdict.cause == "lr_too_high" and verdict.alarming
    assert len(verdict.evidence) >= 2 and verdict.remedy.startswith("R")
    assert isinstance(advice, f.AdviceGiven) and advice.low < advice.value <= advice.high
    assert advice.value == pytest.approx(1.0, rel=0.05), "five times the usual 0.2"


def test_without_a_probe_it_does_not_wait_for_ever() -> None:
    found = considered(Analyst(), [START, *told(1, healthy(1500)), *told(1501, [2.8] * (50 + 25 * PATIENCE))])
    assert any(isinstance(x, f.VerdictReached) for x in found)


def turned(step: int, name: str, old: float, new: float, by: str = "you") -> e.KnobChanged:
    return e.KnobChanged(branch=0, step=step, name=name, old=old, new=new, id="1", by=by)


def alarm_of(found: list[e.Event]) -> f.AlarmRaised:
    return next(x for x in found if isinstance(x, f.AlarmRaised))


@pytest.mark.parametrize(("turn", "since"), [
    (turned(1500, "lr", 0.003, 0.12), "since your lr x40 at step 1,500"),
    (turned(1500, "lr", 0.003, 0.12, by="guard"), ""), (turned(1500, "lr", 0.003, 0.001), ""),
    (turned(1500, "clip", 0.1, 0.0), "since your clip 0.1 → off at step 1,500"), (turned(1500, "clip", 1.0, 0.0), ""),
    (turned(1500, "clip", 1.0, 0.1), "")])
def test_only_an_act_that_made_steps_larger_is_named(turn: e.KnobChanged, since: str) -> None:
    found = considered(Analyst(), [START, *told(1, healthy(1500)), turn, *told(1501, [2.9] * 200)])
    assert alarm_of(found).since == since
    verdict = next(x for x in found if isinstance(x, f.VerdictReached))
    said = " ".join((alarm_of(found).sentence, verdict.sentence, *verdict.evidence, verdict.against))
    assert said.count("since your") <= 1 and ("since your lr" in said) == ("lr" in since)


def test_a_lowering_does_not_silence_the_alarm() -> None:
    found = considered(Analyst(), [START, *told(1, healthy(1500)), turned(1500, "lr", 0.003, 0.001),
                                   *told(1501, [2.9] * 100)])
    assert alarm_of(found).step < 1550


def evaluated(step: int, loss: float, part: bool = False) -> e.Evaluated:
    return e.Evaluated(branch=0, step=step, loss=loss, bpc=loss / math.log(2), best=False, characters=9, part=part,
                       reason="interval", seconds=0.1)


def doubled_three_times() -> list[e.Event]:
    """A rate that is doubled at 1,500, 1,700 and 1,900 and makes it slowly worse, never by a jump."""
    events = [START, *told(1, healthy(1500)), evaluated(1500, 1.4)]
    for i, step in enumerate((1500, 1700, 1900)):
        events.append(turned(step, "lr", 0.001 * 2**i, 0.002 * 2**i))
        events += [x if not isinstance(x, f.Measured) else reading(x.first_step, 0.004 * 2**i)
                   for x in told(step + 1, np.linspace(1.4 + 0.06 * i, 1.46 + 0.06 * i, 200))]
    return [*events, evaluated(2000, 1.6), *told(2101, [1.62] * 100), evaluated(2200, 1.65)]


def test_a_rate_that_was_doubled_three_times_is_named_where_validation_rose() -> None:
    found = considered(Analyst(), [*doubled_three_times(), *told(2201, [1.62] * 25 * (PATIENCE + 2))])
    assert alarm_of(found).rule == "validation"
    assert alarm_of(found).since == "since your lr doubled three times, x8 since step 1,500"
    verdict = next(x for x in found if isinstance(x, f.VerdictReached))
    assert verdict.cause == "lr_too_high" and alarm_of(found).sentence == verdict.evidence[0]
    assert "each step moves the weights 8 times as far as before" in verdict.evidence


def test_measurements_of_a_part_of_the_validation_text_are_no_ground_for_an_alarm() -> None:
    events = [x if not isinstance(x, e.Evaluated) or x.loss < 1.5 else evaluated(x.step, x.loss, part=True)
              for x in doubled_three_times()]
    assert not any(isinstance(x, f.AlarmRaised) for x in considered(Analyst(), events))


@pytest.mark.parametrize(("how", "since"), [
    ("rollback", "since your rollback to step 1,200 with lr x40"),
    ("resume", "since you resumed at step 1,500 with lr x40"),
    ("undo", "since your undo at step 1,500, lr x4")])
def test_a_rate_that_a_rollback_a_resume_or_an_undo_sets_is_an_act(how: str, since: str) -> None:
    knobs = {"lr": 0.003, "clip": 1.0}
    start = dataclasses.replace(START, facts={**START.facts, "knobs": knobs})
    analyst, first = Analyst(), 1501
    considered(analyst, [start, *told(1, healthy(1000)), *told(1001, healthy(1500)[1000:])])
    if how == "rollback":
        act: e.Event = e.RolledBack(from_branch=0, from_step=1500, to_step=1200, branch=1, id="1", by="you",
                                    knobs={"lr": 0.12, "clip": 1.0}, asked=None, point="s1")
        first = 1201
    elif how == "undo":
        analyst = Analyst()
        considered(analyst, [start, *told(1, healthy(1000)), turned(1000, "lr", 0.012, 0.003),
                             *told(1001, healthy(1500)[1000:])])
        act = e.Undone(id="1", by="you", what="lr", branch=0, step=1500, knobs={"lr": 0.012, "clip": 1.0})
    else:
        act = e.RunResumed(branch=0, step=1500, checkpoint="b0-s1500", exact=True, why_not="", config=CONFIG,
                           vocabulary="ab", versions={}, device="cpu", threads=1, precision="fp32",
                           facts={**FACTS, "knobs_before": knobs, "knobs": {"lr": 0.12, "clip": 1.0}})
    calm = 300 if how == "resume" else 0  # its own best must be known again
    found = considered(analyst, [act, *told(first, healthy(3000)[2000 : 2000 + calm]),
                                 *told(first + calm, [2.9] * 150)])
    assert alarm_of(found).since == since


def test_an_act_that_was_rolled_back_is_not_blamed_and_does_not_silence_the_next_alarm() -> None:
    analyst = Analyst()
    considered(analyst, [START, *told(1, healthy(1500)), turned(1500, "lr", 0.003, 0.12), *told(1501, [2.9] * 100)])
    back = e.RolledBack(from_branch=0, from_step=1600, to_step=1200, branch=1, id="1", by="you", asked=None, point="",
                        knobs={"lr": 0.003, "clip": 1.0})
    found = considered(analyst, [back, *told(1201, healthy(1500)[1200:]), *told(1501, [2.9] * 40)])
    assert alarm_of(found).since == "" and alarm_of(found).step < 1530


def test_one_skipped_step_is_a_verdict_and_no_alarm() -> None:
    skip = e.StepSkipped(branch=0, step=700, onset=700, rule="non_finite", value=math.nan, threshold=math.inf, count=1,
                         streak=0, sentence="")
    [verdict] = considered(Analyst(), [START, *told(1, healthy(700)), skip])
    assert isinstance(verdict, f.VerdictReached) and verdict.cause == "non_finite" and not verdict.alarming


def test_after_a_rollback_the_same_trouble_is_found_again() -> None:
    analyst = Analyst()
    broken = [*told(1, healthy(1500)), *told(1501, [2.8] * 60)]
    assert any(isinstance(x, f.AlarmRaised) for x in considered(analyst, [START, *broken]))
    back = e.RolledBack(from_branch=0, from_step=1560, to_step=1200, branch=1, id="", by="guard",
                        knobs={"lr": 0.001, "clip": 1.0}, asked=None, point="")
    found = considered(analyst, [back, *told(1201, healthy(1500)[1200:]), *told(1501, [2.8] * 60)])
    assert any(isinstance(x, f.AlarmRaised) for x in found)


def test_validation_of_a_part_raises_no_alarm_and_spoils_no_best() -> None:
    analyst = Analyst()
    considered(analyst, [START, *told(1, healthy(1500))])
    at = [e.Evaluated(branch=0, step=step, loss=loss, bpc=loss, best=False, characters=9, reason="interval",
                      seconds=0.1, part=part)
          for step, loss, part in [(1000, 1.5, False), (1100, 0.9, True), (1200, 1.45, False), (1300, 3.0, True),
                                   (1400, 3.0, True)]]
    assert considered(analyst, at) == []
    assert list(analyst.validation.losses) == [(1000, 1.5), (1200, 1.45)] and analyst.validation.best == 1.45


def not_finite(last: int, count: int, streak: int, *, kept: bool = True) -> e.StepSkipped:
    return e.StepSkipped(branch=0, step=last, onset=last - count + 1, rule="non_finite", value=math.nan,
                         threshold=math.inf, count=count, streak=streak, sentence="", kept=kept)


def test_a_streak_of_steps_that_are_not_finite_is_one_alarm_however_often_it_is_reported() -> None:
    found = considered(Analyst(), [START, *told(1, healthy(700)), not_finite(730, 30, 30), not_finite(760, 30, 60),
                                   not_finite(790, 30, 90), *told(791, healthy(820)[790:]), not_finite(850, 30, 30)])
    assert [x.onset for x in found if isinstance(x, f.AlarmRaised)] == [701, 821]


def test_where_such_steps_were_made_all_the_same_the_verdict_says_so() -> None:
    found = considered(Analyst(), [START, *told(1, healthy(700)), not_finite(730, 30, 30, kept=False)])
    [verdict] = [x for x in found if isinstance(x, f.VerdictReached)]
    assert "made all the same" in verdict.sentence and "kept from" not in verdict.sentence
    assert verdict.remedy.startswith("R: roll back to before")


def of_a_script(**facts: Any) -> e.RunStarted:
    unit = Capabilities(loss=LossUnit("squared error", "", 1.0))
    return e.RunStarted(config={"optimizer": "adam"}, vocabulary="", versions={}, device="cpu", threads=1,
                        precision="fp32", facts={**unit.to_facts(), "knobs": {"lr": 0.001, "clip": 1.0}, **facts})


def numbers(first: int, losses: Iterable[float], norm: float = 0.2) -> list[e.Event]:
    """All that is known of a script's steps."""
    return [event for event in told(first, losses, norm) if isinstance(event, e.StepsDone)]


def broken_by_spikes(start: e.RunStarted) -> list[e.Event]:
    spikes = [event for at in (1201, 1261, 1321, 1381)
              for event in (*numbers(at, [40.0], 40.0), *numbers(at + 1, healthy(3059)[3000:]))]
    return considered(Analyst(), [start, *numbers(1, healthy(1200)), *spikes, *numbers(1441, [9.0] * 200, 30.0)])


def test_of_a_script_no_word_speaks_of_text_and_recurrence() -> None:
    found = broken_by_spikes(of_a_script())
    words = " ".join(str(x) for x in found)
    assert {f.WarningRaised, f.AlarmRaised, f.VerdictReached} <= {type(x) for x in found}
    for word in ("text", "recurren", "letter", "character"):
        assert word not in words, [x for x in found if word in str(x)]


def test_norms_after_the_loops_own_clip_advise_none() -> None:
    assert any(isinstance(x, f.AdviceGiven) for x in broken_by_spikes(of_a_script(norms=BEFORE_CLIPPING)))
    assert not any(isinstance(x, f.AdviceGiven) for x in broken_by_spikes(of_a_script(norms=AFTER_CLIPPING)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_one_odd_step_of_a_loss_of_any_scale_is_seen_to_have_passed(scale: float) -> None:
    losses = [scale * loss for loss in healthy(1500)]
    found = considered(Analyst(), [of_a_script(), *numbers(1, losses), *numbers(1501, [40 * scale]),
                                   *numbers(1502, losses[-100:])])
    assert [x.cause for x in found if isinstance(x, f.VerdictReached)] == ["outlier_batch"]
