"""Where training broke, from losses alone: for good, not for a while, not before anything was learned."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuitrain.autopsy import inquest
from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.timeline import timeline
from tuitrain.autopsy.verdict import verdict

LETTERS = 3.0


def layer(**numbers: Any) -> dict[str, Any]:
    return {"saturation": dict.fromkeys("ifgo", 0.3), "radius": 5.0, "worst": 2.0, "dead": 0.0, "first": 0.01,
            "recurrent_norm": 20.0, **numbers}


def checkpoint(i: int, loss: float | None, gibberish: float | None = None, moved: float = 5.0, norm: float = 50.0,
               squares: float | None = None, **numbers: Any) -> Examined:
    index = min(1.0, max(0.1, ((loss or 4.0) - 1.5) / 1.5)) if gibberish is None else gibberish
    return Examined(f"c-{i}", 100 * i, loss, weights={"lstm.weight_hh_l0": norm}, layers=(layer(**numbers),),
                    moved={"layer 1": moved} if i > 1 else {}, health={"gibberish": index}, squares=squares)


def checkpoints(losses: list[float | None]) -> list[Examined]:
    return [checkpoint(i + 1, loss) for i, loss in enumerate(losses)]


@pytest.mark.parametrize(("losses", "healthy", "broken"), [
    ([2.8, 2.4, 2.1, 2.0, 1.9, 3.4, 3.2, 3.1], 4, 5),
    ([2.8, 2.4, 2.1, 2.0, 1.9, 2.8, 2.6, 2.5], 4, 5),  # a collapse that comes back half-way has not come back
    ([4.2, 2.8, 2.4, 2.1, 1.9, 1.8], 5, None),
    ([4.2, 4.1, 2.8, 2.4, 2.1, 3.3], 4, 5),  # untrained ones are not broken; the last one is
    ([2.8, 2.2, 2.0, 3.0, 2.1, 1.95, 1.9], 6, None),  # it recovered
    ([2.8, 2.2, 2.0, 3.0, 2.1, 1.95, 3.1, 3.2], 5, 6),  # once it recovered, then not
    ([2.8, 2.2, 2.0, None, None], 2, 3),
    ([2.2, 2.0, 2.05, 1.98, 2.04, 1.99, 2.03], 6, None),  # noise
    ([4.2, 4.1, 4.0, 3.9], None, None),  # nothing was learned
    ([2.0], 0, None),
])
def test_the_break_is_where_the_loss_leaves_for_good(losses: list[float | None], healthy: int | None,
                                                     broken: int | None) -> None:
    found = timeline(checkpoints(losses), LETTERS)
    assert (found.last_healthy, found.first_broken) == (healthy, broken)


def test_what_recovered_is_told() -> None:
    assert timeline(checkpoints([2.8, 2.2, 2.0, 3.0, 2.1, 1.95]), LETTERS).recovered == (3,)


def test_a_text_learned_by_heart_is_not_broken() -> None:
    losses = [2.5, 2.0, 1.7, 1.6, 1.65, 1.75, 1.85, 1.95, 2.05, 2.15]
    rising = [checkpoint(i + 1, loss, gibberish=0.1) for i, loss in enumerate(losses)]
    found = timeline(rising, LETTERS)
    assert found.first_broken is None and found.overfits
    assert verdict(rising, found, LETTERS, "lstm").judgement.cause == "overfitting"


@pytest.mark.parametrize("ours", [True, False])
def test_what_overfits_goes_on_from_the_best_one_and_differently(ours: bool) -> None:
    losses = [2.5, 2.0, 1.7, 1.6, 1.65, 1.75, 1.85, 1.95]
    rising = [checkpoint(i + 1, loss, gibberish=0.1) for i, loss in enumerate(losses)]
    found = timeline(rising, LETTERS)
    assert found.overfits and found.best == 3
    entries = [SimpleNamespace(name=each.name, path=Path("sets", each.name)) for each in rising]
    run = SimpleNamespace(path=Path("runs/x")) if ours else None
    source: Any = SimpleNamespace(kept={"config": {"lr": 0.004}} if ours else {}, run=run,
                                  listing=SimpleNamespace(entries=entries))
    command = inquest._command(source, rising, found, Path("text.txt"), None)
    assert command == ("tuitrain resume runs/x --checkpoint 400 --lr 0.001" if ours else
                       "tuitrain adopt sets/c-4 --corpus text.txt --lr 0.001 --clip auto --dropout 0.5")


def cause(broken: dict[str, Any], before: dict[str, Any] | None = None) -> Any:
    losses = [2.6, 2.3, 2.1, 2.0, 1.9]
    known = [checkpoint(i + 1, loss, **(before or {})) for i, loss in enumerate(losses)]
    known += [checkpoint(6, 3.4, **broken), checkpoint(7, 3.3, **broken)]
    return verdict(known, timeline(known, LETTERS), LETTERS, "lstm")


def test_weights_that_were_thrown_far_mean_that_the_rate_was_too_high() -> None:
    found = cause({"moved": 500.0, "norm": 550.0, "saturation": dict.fromkeys("ifgo", 0.99), "worst": 1e9})
    assert found.judgement.cause == "lr_too_high"
    assert any("100 times as far" in words for words in found.judgement.evidence)
    assert not any("single gradient" in words for words in found.unsure)  # no spike makes a step that long


def test_large_recurrent_weights_and_ordinary_steps_mean_an_exploding_gradient() -> None:
    found = cause({"moved": 9.0, "worst": 80.0, "radius": 62.0}, {"radius": 55.0, "worst": 25.0})
    assert found.judgement.cause == "exploding_gradient"
    assert any("spectral radius" in words for words in found.judgement.evidence)
    assert any("no moments of Adam" in words for words in found.unsure)


def test_adams_moments_prove_a_spike_or_exclude_it() -> None:
    spiked = cause({"moved": 9.0, "squares": 900.0, "radius": 62.0}, {"radius": 55.0, "squares": 0.05})
    assert spiked.judgement.cause == "exploding_gradient" and not any("single" in words for words in spiked.unsure)
    assert any("times the median" in words for words in spiked.judgement.evidence)
    calm = cause({"moved": 30.0, "squares": 0.05}, {"squares": 0.05})
    assert any("no gradient stood out" in words for words in calm.judgement.evidence)


def test_weights_that_are_no_numbers_are_a_cause_of_their_own() -> None:
    known = checkpoints([2.6, 2.3, 2.1])
    known += [Examined("c-4", 400, None, finite=False), Examined("c-5", 500, None, finite=False)]
    found = timeline(known, LETTERS)
    assert (found.last_healthy, found.first_broken) == (2, 3)
    assert verdict(known, found, LETTERS, "lstm").judgement.cause == "non_finite"


def test_a_healthy_set_says_so() -> None:
    known = checkpoints([2.6, 2.3, 2.1])
    found = verdict(known, timeline(known, LETTERS), LETTERS, "lstm")
    assert found.judgement.cause == "healthy" and found.judgement.evidence[0].endswith("2.1 nats, at c-3")
    assert not math.isnan(known[0].radius)
