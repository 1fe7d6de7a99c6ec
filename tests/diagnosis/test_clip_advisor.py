"""The clip that a run should have: from its own median, by what a spike does under its own optimizer."""

import math

import numpy as np
import pytest

from tuitrain.diagnosis.clip_advisor import ClipAdvice, advise, kick, largest_harmless, medians, touched
from tuitrain.specs import OPTIMIZERS

ADAM = (0.9, 0.999)
QUIET = np.random.default_rng(1).lognormal(math.log(0.2), 0.1, 2000)
SPIKY = np.where(np.arange(2000) % 50 == 49, 8.0, QUIET)


def test_a_kick_saturates_and_five_medians_are_half_a_step() -> None:
    assert [round(kick(k, ADAM), 2) for k in (2.5, 5, 10, 25, 100)] == [0.25, 0.49, 0.95, 1.96, 3.02]
    assert largest_harmless(ADAM) == pytest.approx(5.06, abs=0.01)
    assert kick(largest_harmless(ADAM), ADAM) == pytest.approx(0.5)
    assert largest_harmless((0.99, 0.9)) == math.inf


def test_the_advice_is_five_medians_under_adam_and_less_under_sgd() -> None:
    adam, sgd = advise(QUIET, 1.0, "adam", ADAM), advise(QUIET, 1.0, "sgd", ADAM)
    assert isinstance(adam, ClipAdvice) and isinstance(sgd, ClipAdvice)
    assert adam.value == pytest.approx(1.0, abs=0.03) and adam.low == pytest.approx(0.24, abs=0.01)
    assert sgd.value == pytest.approx(0.5, abs=0.02) and adam.touched == 0.0
    assert medians(adam.value, QUIET) == pytest.approx(5.0, abs=0.1)


def test_spikes_do_not_move_the_advice_and_are_what_it_cuts() -> None:
    found = advise(SPIKY, 0.0, "adam", ADAM)
    assert found is not None and found.value == pytest.approx(1.0, abs=0.03)
    assert found.touched == pytest.approx(0.02) and "no clip" in found.sentence


def test_it_says_when_the_clip_is_not_the_point() -> None:
    high, always = advise(QUIET, 5.0, "adam", ADAM), advise(QUIET, 0.05, "adam", ADAM)
    assert high is not None and "too high to matter" in high.sentence and "25 medians" in high.sentence
    assert always is not None and "divides it out again" in always.sentence
    plain = advise(QUIET, 0.05, "sgd", ADAM)
    assert plain is not None and "divides" not in plain.sentence


def test_a_short_tail_is_not_cut() -> None:
    wide = np.random.default_rng(2).uniform(0.1, 0.3, 1000)  # p99 is 1.5 medians
    found = advise(wide, 1.0, "sgd", (0.0, 0.0))
    assert found is not None and found.value >= np.percentile(wide, 99) and found.touched <= 0.01


def test_too_few_numbers_and_broken_ones() -> None:
    assert advise(QUIET[:199], 1.0, "adam", ADAM) is None
    broken = np.where(np.arange(2000) % 3 == 0, np.nan, QUIET)
    assert advise(broken, 1.0, "adam", ADAM) is not None
    assert touched(1.0, np.array([0.5, np.nan, np.inf, 2.0])) == 0.75 and touched(0.0, QUIET) == 0.0
    assert math.isnan(medians(1.0, np.zeros(5)))


def test_how_much_longer_a_single_gradient_can_make_a_step() -> None:
    rng = np.random.default_rng(0)
    for b1, b2 in ((0.9, 0.999), (0.9, 0.99)):
        g = rng.normal(size=(4000, 400))
        g[3000] *= 1e6
        m, v, step = np.zeros(400), np.zeros(400), []
        for t, x in enumerate(g, 1):
            m, v = b1 * m + (1 - b1) * x, b2 * v + (1 - b2) * x * x
            step.append(float(np.linalg.norm(m / (1 - b1**t) / np.sqrt(v / (1 - b2**t)))))
        times = max(step[3000:3100]) / np.median(step[2000:3000])
        assert times < OPTIMIZERS["adam"].longest((b1, b2), 0.99) < 2 * times
    assert OPTIMIZERS["sgd"].longest((0.9, 0.999), 0.99) == np.inf
    assert OPTIMIZERS["muon"].longest((0.9, 0.999), 0.99) < 2


def test_a_clip_that_is_as_advised_is_told_once() -> None:
    value = advise(QUIET, 0.0, "adam", ADAM)
    assert value is not None
    same = advise(QUIET, value.value, "adam", ADAM)
    assert same is not None and "which is the advice" in same.sentence and same.sentence.count("medians") == 1
