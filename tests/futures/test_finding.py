"""The range test and the clip finder: what they read off known curves, and whole on a tiny model."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TINY
from tuitrain.cli.main import main
from tuitrain.errors import TuitrainError
from tuitrain.futures import finding

RATES = np.logspace(-5, 0, 400)
WORDS = [f"--{name.replace('_', '-')}={TINY[name]}" for name in ("layers", "hidden", "batch_size", "bptt", "threads",
                                                              "precision")]


def curve(breaks_at: float) -> Any:
    """Losses that fall with the rate and rise beyond one."""
    falls = 3.0 / (1 + np.cumsum(RATES) * 5)
    return finding.of_losses(RATES, falls + np.maximum(0, np.log10(RATES / breaks_at)) * 6, {"auto": 0.01})


def test_the_suggestion_is_a_tenth_of_where_the_loss_is_lowest_and_says_why() -> None:
    low, high = curve(0.01), curve(0.1)
    assert 0.008 < low.lowest < 0.03 < 0.08 < high.lowest < 0.3
    assert low.suggested == pytest.approx(low.lowest / finding.SAFE, rel=0.4) and low.suggested < high.suggested
    assert low.lowest < low.breaks < 1
    assert low.sentence.startswith(f"suggested: --lr {low.suggested:g}, a 10th of ") and "1.1 times" in low.sentence


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    flat = finding.of_losses(RATES, np.full(400, 3.0), {})
    assert math.isnan(flat.suggested) and "no rate can be suggested" in flat.sentence
    broken = finding.of_losses(RATES, np.full(400, np.nan), {})
    assert math.isnan(broken.suggested)
    assert math.isnan(finding.of_losses(RATES[:0], np.empty(0), {}).suggested)


def test_the_running_mean_has_no_pull_of_its_begin() -> None:
    assert finding.smoothed(np.full(50, 2.5)) == pytest.approx(2.5)
    assert np.isnan(finding.smoothed(np.array([1.0, np.nan, 1.0]))[1:]).all()


def test_lr_find_raises_the_rate_and_ends_where_it_breaks(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-find", str(corpus), "--length", "200", "--json", *WORDS]) == 0
    body = json.loads(capsys.readouterr().out)
    rates = np.array(body["rates"])
    assert rates[0] == pytest.approx(finding.LOW) and (np.diff(np.log(rates)) > 0).all() and len(rates) <= 200
    assert 1e-4 < body["suggested"] < 0.3 and body["lowest"] > body["suggested"]
    assert body["presets"] == {"auto, with an end": 0.01, "auto, without": 0.003, "char-rnn": 0.002, "tflearn": 0.005}


def test_lr_find_draws_the_curve(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-find", str(corpus), "--length", "100", *WORDS]) == 0
    out = capsys.readouterr().out
    assert "learning rate" in out and "bpc" in out and "the presets take 0.01 (auto, with an end)" in out
    assert "\x1b" not in out and "0.001" in out


def test_clip_find_says_what_five_would_have_been(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clip-find", str(corpus), "--length", "200", *WORDS]) == 0
    out = capsys.readouterr().out
    assert "suggested: --clip" in out and "useful from" in out and "in medians of the norm" in out
    assert "5 is " in out and "medians: it never acts" in out and "(preset tflearn)" in out
    assert main(["clip-find", str(corpus), "--length", "200", "--json", "--optimizer=sgd", *WORDS]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["kicks"] == {} and body["low"] < body["clip"] <= body["high"] and len(body["norms"]) >= 200


@pytest.mark.parametrize(("command", "length", "least"), [("lr-find", "10", 50), ("clip-find", "100", 200)])
def test_a_length_that_shows_nothing_is_refused(command: str, length: str, least: int, corpus: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(corpus), "--length", length]) == 2
    assert f"give {least} steps or more" in capsys.readouterr().err


def test_a_scratch_run_that_fails_says_so(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("tuitrain.charlstm.machine.Machine.learn", fail)
    with pytest.raises(TuitrainError, match="no more"):
        finding.range_test({**{k: v for k, v in TINY.items() if k not in ("lr", "warmup")}, "corpus": str(corpus)}, 60,
                           lambda words: None)
