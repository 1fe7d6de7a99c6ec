"""Verdicts: the signs of each cause lead to it, little evidence to `unclear`."""

import dataclasses

import pytest

from tuitrain.diagnosis.signs import Signs
from tuitrain.diagnosis.verdict import judge
from tuitrain.diagnosis.words import REMEDIES, SENTENCES
from tuitrain.protocol.findings import CAUSES

STEPS = Signs("adam", loss_jump=1.0, val_jump=0.9, spike=2.0, update_jump=9.0, norm_jump=0.8, surprise=6.0, growth=0.5,
              saturation_jump=0.3, worst_flow=1.0, dead=0.0, saturation=0.6)
EXPLOSION = Signs("adam", loss_jump=0.5, val_jump=0.6, spike=80.0, early_spikes=3, update_jump=1.2, norm_jump=3.0,
                  growth=0.02, worst_flow=30.0, dead=0.0, saturation=0.6, saturation_jump=0.01)
TEXT = Signs("adam", loss_jump=2.0, val_jump=0.1, spike=3.0, update_jump=1.4, norm_jump=2.0, growth=0.004,
             worst_flow=1.0, saturation_jump=0.0, dead=0.0, saturation=0.6)


@pytest.mark.parametrize(("signs", "cause"), [
    (STEPS, "lr_too_high"), (EXPLOSION, "exploding_gradient"), (TEXT, "bad_data"),
    (Signs("adam", rule="overfitting", overfits=True), "overfitting"),
    (Signs("adam", rule="non_finite", skipped=30), "non_finite"),
    (Signs("adam", rule="no_progress", dead=0.9, saturation=0.97, flow=1e-6, update_jump=1.0), "dead"),
    (Signs("sgd", rule="no_progress", dead=0.0, saturation=0.1, flow=1e-3, update_jump=1.0, unchanged=True), "plateau"),
    (Signs("sgd", rule="no_progress", dead=0.0, saturation=0.1, flow=1e-12, recurrent_share=0.001), "vanishing"),
    (Signs("sgd", loss_jump=1.0, val_jump=1.0, spike=60.0, update_jump=40.0, norm_jump=40.0, growth=0.3,
           worst_flow=50.0), "exploding_gradient")])
def test_causes(signs: Signs, cause: str) -> None:
    found = judge(signs)
    assert found.cause == cause and len(found.evidence) >= 2 and found.runner_up != cause and found.against
    assert found.sentence.startswith(SENTENCES[cause]) and found.remedy == REMEDIES[cause]


def test_a_turned_knob_is_named() -> None:
    found = judge(dataclasses.replace(STEPS, since="since your lr x40 at step 300"))
    assert found.cause == "lr_too_high" and "since your lr x40 at step 300" in found.sentence


@pytest.mark.parametrize("signs", [Signs("adam"), Signs("adam", loss_jump=1.0, spike=4.0)])
def test_too_little_is_unclear_and_says_so(signs: Signs) -> None:
    found = judge(signs)
    assert found.cause == "unclear" and "Cannot tell yet, because" in found.sentence


def test_every_cause_has_its_words() -> None:
    assert set(SENTENCES) == set(REMEDIES) == set(CAUSES)
