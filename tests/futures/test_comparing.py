"""What is said of a race: differences with honest errors, signs before losses, and how far it could see."""

import math
from typing import Any

import numpy as np
import pytest

from tuitrain.diagnosis.arms import AS_IT_IS, Arm
from tuitrain.futures import comparing, telling
from tuitrain.futures.comparing import Difference, compare, of_steps, reaches, round_steps
from tuitrain.futures.reading import BROKEN, CUT, WHOLE, Reading
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f

STEPS = 400


def arm(words: Arm, shift: float = 0.0, *, validation: float = 0.0, noise: float = 0.01, seed: int = 1,
        radii: tuple[float, float] = (5.0, 5.0), **fields: Any) -> Reading:
    """An arm whose losses are those of every other with a shift and a little noise of its own."""
    common = 1.5 + 0.3 * np.random.default_rng(0).standard_normal(STEPS)
    own = np.random.default_rng(seed)
    stretches = 1.6 + 0.1 * np.random.default_rng(9).standard_normal(90) + validation + \
        0.002 * own.standard_normal(90)
    grown = [(100 + i * 50, radii[0] + (radii[1] - radii[0]) * i / 8) for i in range(9)]
    return Reading(words, 100, STEPS, (common + shift + noise * own.standard_normal(STEPS)).tolist(),
                   [1.0] * (STEPS - 1) + [3.0], stretches=stretches.tolist(), validation=float(stretches.mean()),
                   radii=grown, **{"state": WHOLE, **fields})


def test_a_hundredth_of_a_nat_is_seen_though_losses_spread_thirty_times_as_far() -> None:
    found = of_steps(arm(Arm(lr="x0.5"), 0.01, seed=2).losses, arm(Arm()).losses)
    assert found.value == pytest.approx(0.01, abs=0.003) and found.seen
    assert not of_steps(arm(Arm(lr="x0.5"), seed=2).losses, arm(Arm()).losses).seen


def test_the_error_knows_that_neighbouring_steps_are_alike() -> None:
    """Differences that drift like a carried stream's: the naive error would call one half of these seen."""
    seen = naive = 0
    for seed in range(60):
        steps = np.random.default_rng(seed).standard_normal(STEPS + 20)
        drifting = np.convolve(steps, np.ones(8) / 8, "valid")[:STEPS]
        seen += of_steps(drifting.tolist(), [0.0] * STEPS).seen
        late = drifting[STEPS // 5:]
        naive += abs(late.mean()) > 2 * late.std(ddof=1) / math.sqrt(len(late))
    assert naive > 20 and seen <= 9


def test_the_steps_that_still_adapt_are_left_out() -> None:
    losses = [9.0] * (STEPS // 5) + [1.0] * (STEPS - STEPS // 5)
    assert of_steps(losses, [1.0] * STEPS).value == 0.0
    assert math.isnan(of_steps([1.0], [2.0]).value) and not of_steps([1.0], [2.0]).seen
    assert math.isnan(of_steps([math.nan] * STEPS, [1.0] * STEPS).value)


def test_the_lowest_validation_without_a_sign_is_taken_and_the_runner_up_named() -> None:
    outcome = compare([arm(Arm()), arm(Arm(lr="x0.5"), -0.05, validation=-0.05, seed=2),
                       arm(Arm(lr="x0.25"), -0.02, validation=-0.02, seed=3)])
    assert outcome.taken is outcome.rows[1] and outcome.runner_up is outcome.rows[2]
    assert outcome.lead.seen and outcome.lead.value == pytest.approx(-0.03, abs=0.002)
    said = " ".join(outcome.sentences)
    assert "recommended: lr x0.5" in said and "runner-up: lr x0.25" in said and "no arm broke within 400 steps" in said
    assert "best" not in said


def test_no_difference_is_called_none() -> None:
    outcome = compare([arm(Arm()), arm(Arm(clip="1"), seed=2)])
    assert any(line.startswith("no difference seen to the runner-up") for line in outcome.sentences)


def test_nothing_is_changed_for_a_gain_that_cannot_be_seen() -> None:
    outcome = compare([arm(Arm()), arm(Arm(clip="0.01"), validation=-0.002, seed=2)])
    assert outcome.taken is outcome.rows[0] and outcome.runner_up is outcome.rows[1]
    assert any("recommended: as it is" in line and "none without a sign of trouble is seen to be lower" in line
               for line in outcome.sentences)


def test_an_arm_with_a_sign_is_not_taken_however_low_its_loss() -> None:
    growing = arm(Arm(lr="x2"), -0.1, validation=-0.1, seed=2, radii=(16.0, 18.0))
    outcome = compare([arm(Arm()), growing])
    assert outcome.taken is outcome.rows[0]
    assert reaches(growing) == pytest.approx((30 - 18) / (2 / 400), rel=0.01)
    assert any("lr x2: its radius is 18 and grows towards 30" in line and "in about 2,000 steps" in line
               for line in outcome.sentences)
    slow = arm(Arm(lr="x2"), seed=2, radii=(5.0, 5.4))
    assert not compare([arm(Arm()), slow]).rows[1].signs
    assert any("radius grows towards 30 in about 20,000 steps" in line for line in compare([arm(Arm()),
                                                                                            slow]).sentences)


def test_alarms_errors_and_steps_that_are_not_finite_are_signs() -> None:
    alarm = f.AlarmRaised(branch=1, step=300, onset=290, rule="level", value=3.0, threshold=2.0,
                          sentence="the loss left its level")
    broke, crashed, odd = (arm(Arm(lr=f"x{n}"), validation=-0.1, seed=n) for n in (2, 3, 4))
    broke.take(alarm)
    crashed.state, crashed.message = BROKEN, "RuntimeError: odd"
    odd.skipped = 3
    outcome = compare([arm(Arm()), broke, crashed, odd])
    assert outcome.taken is outcome.rows[0]
    said = "\n".join(outcome.sentences)
    assert "no arm broke" not in said
    for words in ("lr x2: the loss left its level", "RuntimeError: odd", "3 steps without a finite loss"):
        assert words in said


def test_where_no_arm_is_left_nothing_is_recommended() -> None:
    bad = arm(Arm(), radii=(40.0, 44.0))
    assert any("no arm is without a sign" in line for line in compare([bad]).sentences)
    cut = arm(Arm(), state=CUT)
    assert compare([cut]).taken is None and any("cut after 400 steps" in line for line in compare([cut]).sentences)


def test_a_lower_rate_that_gained_little_is_not_praised_without_a_caution() -> None:
    outcome = compare([arm(Arm()), arm(Arm(lr="x0.1"), -0.01, validation=-0.01, seed=2)])
    assert outcome.taken is outcome.rows[1]
    assert any("over thousands that gain is often gone" in line for line in outcome.sentences)


def test_the_table_has_a_row_for_each_arm_and_fits_a_wide_terminal() -> None:
    rows = [arm(Arm()), arm(Arm(clip="0.42", lr="x0.25"), -0.013, validation=-0.02, seed=2, sample="It was a dark")]
    outcome = compare(rows)
    lines = telling.table(outcome)
    assert len(lines) == 3 and lines[1].startswith(AS_IT_IS) and lines[2].startswith("clip 0.42, lr x0.25")
    assert max(map(len, lines)) <= 132
    narrow = telling.table(outcome, width=79)
    assert max(map(len, narrow)) <= 79 and narrow[2].startswith("clip 0.42, lr x0.25")
    assert "signs" in narrow[0] and "radius" in narrow[0] and "update" not in narrow[0]
    assert "It was a dark" in "\n".join(telling.words(outcome))


def test_a_reading_survives_the_way_through_json() -> None:
    reading = arm(Arm(lr="x0.5", clip="off"), validation=math.nan)
    reading.take(e.StepSkipped(branch=1, step=3, onset=3, rule="non_finite", value=math.nan, threshold=math.inf,
                               count=2, streak=0, sentence="odd"))
    again = Reading.of_json(reading.to_json())
    assert again.arm == reading.arm and again.losses == reading.losses and again.skipped == 2
    assert again.radii == reading.radii and math.isnan(again.validation) == math.isnan(reading.validation)


def test_steps_are_said_to_the_digit_that_is_known() -> None:
    assert [round_steps(n) for n in (3870, 12_345, 96)] == ["4,000", "10,000", "100"]
    assert comparing.NONE.words(comparing.BITS) == "-" and not Difference(0.1, math.nan).seen
