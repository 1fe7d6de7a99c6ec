"""The rules on natural collapses (recorded elsewhere, skipped where they are not) and on made-up numbers."""

import math
from pathlib import Path

import numpy as np
import pytest

from tuitrain import troubles
from tuitrain.diagnosis.detector import QUIET, Finding, Level, Validation
from tuitrain.diagnosis.tail import SPIKE, Surprise, Tail

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"


def level_of(losses: np.ndarray, **words: float) -> list[Finding]:
    rule = Level(**words)  # type: ignore[arg-type]
    return [x for step, loss in enumerate(losses.tolist(), 1) if (x := rule.take(step, loss)) is not None]


def noisy(steps: int, start: float = 3.0, end: float = 1.5, noise: float = 0.07, kept: float = 0.0) -> np.ndarray:
    """A curve that falls from start to end, with noise of which a share is kept from step to step."""
    rng = np.random.default_rng(3)
    white, noises = rng.normal(0, noise * math.sqrt(1 - kept**2), steps), np.zeros(steps)
    for i in range(1, steps):
        noises[i] = kept * noises[i - 1] + white[i]
    return end + (start - end) * np.exp(-np.arange(steps) / 300) + noises


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings of natural collapses are not here")
@pytest.mark.parametrize(("name", "spike", "broken"), [
    ("adam_lr0.02_noclip", 12_343, True), ("adam_lr0.03_noclip_seed3", 9_514, True),
    ("adam_lr0.03_clip0.9_seed3", None, False), ("rmsprop_lr0.01_noclip", 40_760, True)])
def test_natural_collapses(name: str, spike: int | None, broken: bool) -> None:
    kept = np.load(RECORDINGS / f"{name}.npz")
    level, tail = Level(), Tail()
    found: list[Finding] = []
    for step, (loss, norm) in enumerate(zip(kept["loss"].tolist(), kept["grad_norm"].tolist(), strict=True), 1):
        found += [x for x in (level.take(step, loss), tail.take(step, norm)) if x is not None]
    alarms = [x for x in found if x.rule.alarm]
    spikes = [x for x in found if x.rule.name == "spike"]
    assert bool(alarms) == broken
    assert (spikes[0].step if spikes else None) == spike
    if broken:
        assert alarms[0].step > spikes[0].step and alarms[0].step - alarms[0].onset < 60


def test_a_point_of_long_ago_is_judged_by_the_best_of_then() -> None:
    rule = Level()
    assert [rule.take(step, loss) for step, loss in enumerate(noisy(6000).tolist(), 1)] == [None] * 6000
    rule.moved(450)
    there = noisy(1500)[450:850] + np.repeat([0.0, 0.16], 200)
    assert [rule.take(451 + i, loss) for i, loss in enumerate(there.tolist())] == [None] * 400
    assert any(rule.take(851 + i, 2.6) for i in range(100)), "a break is still seen"


@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_a_healthy_curve_is_quiet_also_when_its_losses_hang_together(kept: float) -> None:
    assert level_of(noisy(20_000, kept=kept)) == []


def test_a_level_shift_is_found_within_25_steps_with_its_onset() -> None:
    losses = noisy(3000)
    losses[2000:] += 0.6
    [found] = level_of(losses)
    assert found.rule is troubles.LEVEL and 2001 <= found.step <= 2025 and abs(found.onset - 2001) <= 5
    assert found.value > found.threshold and "2,00" in found.sentence


def test_after_larger_steps_the_margin_is_wider_and_the_best_is_kept() -> None:
    for rise, broken in ((0.2, False), (1.0, True)):
        losses, rule = noisy(2400), Level()
        losses[2000:] += rise
        found = []
        for step, loss in enumerate(losses[:2390].tolist(), 1):
            if step == 2001:
                rule.turned(2000)
            found += [x for x in [rule.take(step, loss)] if x]
        assert [x.rule.alarm for x in found] == [True] * broken
        if broken:
            assert found[0].step >= 2050 and found[0].onset == 2001


def test_what_was_turned_after_the_step_of_a_rollback_does_not_silence_the_alarm() -> None:
    rule = Level()
    for step, loss in enumerate(noisy(2000).tolist(), 1):
        rule.take(step, loss)
    rule.turned(1900)
    rule.moved(1500)
    again = noisy(400)
    again[300:] += 0.6
    found = [x for step, loss in enumerate(again.tolist(), 1501) for x in [rule.take(step, loss)] if x]
    assert [x.rule.alarm for x in found] == [True] and found[0].step <= 1825


def test_the_first_steps_and_the_seams_between_epochs_are_not_judged() -> None:
    losses = noisy(QUIET)
    losses[100:] += 2
    assert level_of(losses) == []
    losses, rule = noisy(2060), Level()
    losses[2000:2030] += 0.6
    for step, loss in enumerate(losses.tolist(), 1):
        if step == 2001:
            rule.seam(2001)
        assert rule.take(step, loss) is None


def test_small_batches_are_judged_by_a_whole_passage_of_the_text() -> None:
    losses = noisy(6000, noise=0.25)
    losses[4000:4060] += 0.35  # sixty steps of four rows of ten characters: a letter, or a list of names
    assert level_of(losses, targets=40) == []
    assert [x.rule.name for x in level_of(losses, targets=2000)] == ["level"]
    losses[4000:] += 0.6
    assert [x.rule.name for x in level_of(losses, targets=40)] == ["level"]


def test_one_step_that_stands_out_is_an_outlier_and_no_alarm() -> None:
    losses = noisy(2000)
    losses[1500] = 7.9
    [found] = level_of(losses)
    assert not found.rule.alarm and found.rule.name == "outlier" and found.step == 1501


def test_a_model_that_stays_at_the_letters_has_learned_nothing() -> None:
    losses = np.random.default_rng(1).normal(2.95, 0.05, 2000)
    found = level_of(losses, chance=2.95)
    assert [x.rule.name for x in found] == ["no_progress"] and found[0].rule.alarm
    assert level_of(noisy(2000), chance=2.95) == []


def test_spikes_are_counted_each_and_told_once_in_a_while() -> None:
    rng, tail = np.random.default_rng(2), Tail()
    norms = rng.lognormal(math.log(0.2), 0.1, 6000)
    norms[[3000, 3100, 4000]] = 0.2 * (SPIKE + 5)
    found = [x for step, norm in enumerate(norms.tolist(), 1) if (x := tail.take(step, norm)) is not None]
    assert [x.step for x in found if x.rule.name == "spike"] == [3001, 4001] and list(tail.spikes) == [3001, 3101, 4001]
    assert all(not x.rule.alarm and x.value > SPIKE for x in found)
    assert tail.ratio(1000) == pytest.approx(np.percentile(norms[-1000:], 99) / np.median(norms[-1000:]), rel=0.02)
    assert tail.share(4000) == pytest.approx(3 / 4000)


def test_a_tail_that_grows_fat_is_told_against_the_runs_own_youth() -> None:
    def told(young: float, old: float) -> list[str]:
        rng, tail = np.random.default_rng(5), Tail()
        norms = np.concatenate([rng.lognormal(-1.6, young, 8000), rng.lognormal(-1.6, old, 6000)])
        return [x.rule.name for step, n in enumerate(norms.tolist(), 1) if (x := tail.take(step, n)) is not None]

    assert told(0.11, 0.11) == [] and told(0.3, 0.3) == []
    assert told(0.11, 0.25) == ["tail"]


def test_surprise_is_a_share_of_readings_not_one() -> None:
    rule = Surprise()
    assert all(rule.take(i, 12.0 if i == 30 else 0.9) is None for i in range(60))
    assert [x.rule.name for i in range(60, 100) if (x := rule.take(i, 4.0)) is not None] == ["rms"]


def test_validation_must_rise_twice_and_the_training_loss_with_it() -> None:
    rule = Validation()
    assert all(rule.take(i * 500, 1.5 - i / 100, 1.6, 1.6) is None for i in range(1, 5))
    assert rule.take(2500, 1.7, 1.9, 1.5) is None
    found = rule.take(3000, 1.8, 1.9, 1.5)
    assert found is not None and found.rule.alarm and found.rule.name == "validation"
    over = Validation()
    for i in range(8):
        assert over.take(500 * (i + 1), 1.5 + max(0, i - 2) * 0.05, 1.4 - i / 20, 1.3) is None
    assert over.overfits() and not rule.overfits()
