"""What counting reaches: known sources give their known bits; an entropy rate is believed only of its own text."""

import json
from pathlib import Path

import numpy as np
import pytest

from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.levels import NAMES, levels


def made(text: str) -> corpus.Corpus:
    return corpus.build("text", text, 0.1)


def test_letters_drawn_evenly_cost_their_bits_at_every_length() -> None:
    text = "".join(np.random.default_rng(1).choice(list("abcdefgh"), 200_000))
    assert list(levels(made(text))) == list(NAMES)
    assert list(levels(made(text)).values()) == pytest.approx([3.0] * 3, abs=0.02)


def test_a_chain_is_known_from_pairs_on() -> None:
    rng, letters = np.random.default_rng(2), [0]
    for turn in rng.random(60_000):  # stays with 7/8: H2(1/8) = 0.5436 bits, and even letters
        letters.append(letters[-1] ^ int(turn < 1 / 8))
    found = levels(made("".join("ab"[i] for i in letters)))
    assert list(found.values()) == pytest.approx([1.0, 0.5436, 0.5436], abs=0.03)


def test_a_cycle_needs_a_pair_and_nothing_more() -> None:
    found = levels(made("abcd" * 5_000))
    assert found["letters alone"] == pytest.approx(2.0, abs=0.01) and found["letter pairs"] < 0.01


def test_short_texts_and_large_alphabets_have_levels_too() -> None:
    many = "".join(chr(0x4E00 + i) for i in np.random.default_rng(3).integers(0, 9_000, 40_000))
    for text in (many, "ab" * 40, "x" + "y" * 100):
        assert all(np.isfinite(bits) and bits >= 0 for bits in levels(made(text)).values())


def test_an_entropy_rate_is_that_of_its_own_text(tmp_path: Path) -> None:
    path, text = tmp_path / "book.txt", "to and fro " * 50
    path.write_text(text)
    about = {"sha256": corpus.load(path).sha256, "entropy_rate": 0.25}
    (tmp_path / "book.json").write_text(json.dumps(about))
    assert levels(corpus.load(path))["best possible"] == 0.25
    assert corpus.load(path, limit=200).entropy_rate is None
    path.write_text(text + "!")
    assert corpus.load(path).entropy_rate is None
    for broken in ("", "[]", "{}", '{"sha256": 1}', "\0", "[" * 100_000):
        (tmp_path / "book.json").write_text(broken)
        assert corpus.load(path).entropy_rate is None


def test_a_text_that_is_called_json_says_nothing_about_itself(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text("[" * 100_000 + "]")
    assert corpus.load(path).entropy_rate is None
