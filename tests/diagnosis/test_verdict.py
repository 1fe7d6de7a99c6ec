"""Verdicts: the signs of each cause lead to it, little evidence to `unclear`."""

import dataclasses
import math

import pytest

from tuitrain import troubles
from tuitrain.diagnosis.acts import Raised
from tuitrain.diagnosis.signs import Signs
from tuitrain.diagnosis.verdict import WEIGHED, Judgement, _cases, judge

STEPS = Signs("adam", loss_jump=1.0, val_jump=0.9, spike=2.0, update_jump=9.0, norm_jump=0.8, surprise=6.0, growth=0.5,
              saturation_jump=0.3, worst_flow=1.0, dead=0.0, saturation=0.6)
EXPLOSION = Signs("adam", loss_jump=0.5, val_jump=0.6, spike=80.0, early_spikes=3, update_jump=1.2, norm_jump=3.0,
                  growth=0.02, worst_flow=30.0, dead=0.0, saturation=0.6, saturation_jump=0.01)
TEXT = Signs("adam", loss_jump=2.0, val_jump=0.1, spike=3.0, update_jump=1.4, norm_jump=2.0, growth=0.004,
             worst_flow=1.0, saturation_jump=0.0, dead=0.0, saturation=0.6)


@pytest.mark.parametrize(("signs", "cause"), [
    (STEPS, "lr_too_high"), (EXPLOSION, "exploding_gradient"), (TEXT, "bad_data"),
    (Signs("adam", rule=None, overfits=True), "overfitting"),
    (Signs("adam", rule=troubles.NOT_FINITE, skipped=30), "non_finite"),
    (Signs("adam", rule=troubles.NO_PROGRESS, dead=0.9, saturation=0.97, flow=1e-6, update_jump=1.0), "dead"),
    (Signs("sgd", rule=troubles.NO_PROGRESS, dead=0.0, saturation=0.1, flow=1e-3, update_jump=1.0, unchanged=True),
     "plateau"),
    (Signs("sgd", rule=troubles.NO_PROGRESS, dead=0.0, saturation=0.1, flow=1e-12, recurrent_share=0.001), "vanishing"),
    (Signs("sgd", loss_jump=1.0, val_jump=1.0, spike=60.0, update_jump=40.0, norm_jump=40.0, growth=0.3,
           worst_flow=50.0), "exploding_gradient")])
def test_causes(signs: Signs, cause: str) -> None:
    found = judge(signs)
    assert found.cause == cause and len(found.evidence) >= 2 and found.runner_up != cause and found.against
    assert found.sentence == troubles.cause(cause).usual.sentence and found.remedy == troubles.cause(cause).usual.remedy


LR = Raised("lr", 40.0, 300, 300, 0.003, "your lr x40 at step 300")
CLIP = Raised("clip", math.inf, 300, 300, 1.0, "your clip 1 → off at step 300")


def everything(found: Judgement) -> str:
    return " ".join((found.sentence, *found.evidence, found.against))


@pytest.mark.parametrize(("signs", "raised", "cause"), [
    (STEPS, LR, "lr_too_high"), (EXPLOSION, CLIP, "exploding_gradient"), (EXPLOSION, LR, "exploding_gradient")])
def test_a_raised_knob_is_named_once(signs: Signs, raised: Raised, cause: str) -> None:
    found = judge(dataclasses.replace(signs, raised=(raised,)))
    assert found.cause == cause and everything(found).count(f"since {raised.words}") == 1


def test_a_raised_knob_has_weight() -> None:
    little = Signs("adam", rule=troubles.VALIDATION, spike=2.0)
    assert judge(little).cause == "unclear"
    assert judge(dataclasses.replace(little, raised=(LR,))).cause == "lr_too_high"
    spike = Signs("adam", spike=12.0, loss_jump=0.5, worst_flow=3.0)
    assert judge(spike).cause == "unclear"
    assert judge(dataclasses.replace(spike, raised=(CLIP,))).cause == "exploding_gradient"
    assert judge(Signs("sgd", spike=2.0, raised=(CLIP,))).cause == "lr_too_high", "nothing divides it out there"


def test_a_text_that_changed_is_not_blamed_on_who_turned_a_knob() -> None:
    found = judge(dataclasses.replace(TEXT, raised=(dataclasses.replace(LR, factor=1.2),)))
    assert found.cause == "bad_data" and "your lr" not in everything(found)


def test_the_reason_of_the_alarm_is_the_first_of_the_evidence() -> None:
    assert judge(dataclasses.replace(STEPS, reason="validation rose twice")).evidence[0] == "validation rose twice"
    assert judge(Signs("adam", reason="validation rose twice")).evidence == ("validation rose twice",)


@pytest.mark.parametrize("signs", [
    Signs("adam"), Signs("adam", rule=troubles.VALIDATION, spike=2.0), STEPS, TEXT,
    Signs("adam", rule=None, overfits=True)])
def test_only_a_cause_with_a_sign_is_a_candidate(signs: Signs) -> None:
    found = judge(signs)
    without = {cause.name for cause, case in _cases(signs) if not case.pro}
    assert found.cause not in without and found.runner_up not in without and found.against
    assert not any(cause.replace("_", " ") in found.sentence.partition("one way:")[2] for cause in without)


def test_where_no_gradient_arrives_weights_that_stand_still_are_no_sign_of_a_plateau() -> None:
    stuck = Signs("sgd", rule=troubles.NO_PROGRESS, dead=0.0, saturation=0.1, flow=1e-3, unchanged=True)
    assert judge(dataclasses.replace(stuck, recurrent_share=0.01)).cause == "vanishing"
    assert judge(dataclasses.replace(stuck, recurrent_share=0.7)).cause == "plateau"
    assert judge(dataclasses.replace(stuck, recurrent_share=0.0, flow=0.0, dead=0.9, saturation=0.97)).cause == "dead"


@pytest.mark.parametrize("signs", [Signs("adam"), Signs("adam", loss_jump=1.0, spike=4.0)])
def test_too_little_is_unclear_and_says_so(signs: Signs) -> None:
    found = judge(signs)
    assert found.cause == "unclear" and "Cannot tell yet, because" in found.sentence


def test_every_cause_has_its_words_and_keeps_its_name() -> None:
    assert all(name == cause.name and words.title and words.sentence and words.remedy
               for name, cause in troubles.CAUSES.items()
               for words in (cause.usual, cause.in_a_loop, cause.where_made) if words is not None)


def test_a_watched_loop_has_words_of_its_own_where_the_usual_ones_would_be_wrong() -> None:
    assert troubles.BAD_DATA.words_in(own=False).title == "the data changed"
    assert "--init" not in troubles.VANISHING.words_in(own=False).remedy
    assert "may be lost" in troubles.NON_FINITE.words_in(own=False, made=True).sentence
    assert troubles.PLATEAU.words_in(own=False, made=True) == troubles.PLATEAU.usual


def test_every_fault_that_has_a_name_is_weighed_but_the_odd_batch() -> None:
    assert set(WEIGHED) == {c for c in troubles.CAUSES.values() if c.fault} - {troubles.ODD_BATCH}
