"""Sample health on texts made here: the text itself, soup, loops, no punctuation."""

import numpy as np
import pytest

from tuitrain.charlstm.looks.sample_health import LEAST, SampleHealth

WORDS = ["harbour", "lantern", "morning", "captain", "window", "letter", "garden", "silver", "kitchen", "market",
         "summer", "thunder", "pocket", "mirror", "the", "a", "of", "and", "to", "in", "was", "it", "his", "her"]


def text(seed: int, count: int) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(str(rng.choice(WORDS)) + ("," if rng.random() < 0.1 else ".\n" if rng.random() < 0.08 else "")
                    for _ in range(count))


TRAIN, HELD_OUT = text(1, 20_000), text(2, 3_000)
HEALTH = SampleHealth(TRAIN, HELD_OUT)


def test_the_text_itself_is_healthy() -> None:
    found = HEALTH.read(text(3, 300))
    assert found["gibberish"] < 0.08 and found["words"] == 1 and 0.8 < found["punctuation"] < 1.2


def test_letter_soup_is_not_though_its_letters_are_right() -> None:
    soup = "".join(np.random.default_rng(0).permutation(list(text(3, 400))))
    found = HEALTH.read(soup)
    assert found["gibberish"] > 0.7 and found["words"] < 0.2


def test_a_loop_and_forgotten_punctuation_have_numbers_of_their_own() -> None:
    assert HEALTH.read("the harbour was in the market, " * 40)["repeat"] > 0.9
    bare = "".join(c for c in text(4, 300) if c not in ".,")
    found = HEALTH.read(bare)
    assert found["punctuation"] == 0 and found["gibberish"] < 0.2


def test_too_short_a_sample_says_nothing() -> None:
    assert HEALTH.read("a" * (LEAST - 1)) == {}


@pytest.mark.parametrize("strange", ["Ω" * 700, "\n" * 700, "😀 " * 350])
def test_characters_it_never_saw(strange: str) -> None:
    assert HEALTH.read(strange)["gibberish"] > 0.3
