"""Measures how much a sample resembles the training text, by trigrams, words, punctuation and repetition.

A model that has lost the language still uses letters in the right proportion, so unigrams are useless; trigrams work.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LEAST = 600
"""Minimum characters of a sample to be measured."""
MOST = 2_000_000
HELD_OUT = 50_000
PULL = 5.0
"""Weight of the next shorter context in a trigram's probability."""
WORD = re.compile(r"[^\W\d_]{4,}")
"""Words of four letters or more; shorter ones occur by chance in pure noise."""
LOOP = 8


class SampleHealth:
    """N-gram and word tables of a text; `read` compares a sample with them."""

    def __init__(self, train: str, held_out: str) -> None:
        train, held_out = train[:MOST], held_out[:HELD_OUT]
        self._ids = {c: i for i, c in enumerate(sorted(set(train) | set(held_out)))}
        self._size = size = len(self._ids) + 1
        ids = self._encode(train)
        self._one = np.bincount(ids, minlength=size) + 0.1
        self._one /= self._one.sum()
        self._pairs = np.unique(ids[:-1] * size + ids[1:], return_counts=True)
        self._triples = np.unique((ids[:-2] * size + ids[1:-1]) * size + ids[2:], return_counts=True)
        self._singles = np.bincount(ids[:-1], minlength=size).astype(float)
        self._words = {w.lower() for w in WORD.findall(train)}
        marks = [c for c in self._ids if not c.isalnum() and not c.isspace()]
        self._marks = set(marks)
        self._mark_rate = float(sum(self._one[self._ids[c]] for c in marks))
        noise = np.random.default_rng(0).choice(size, 20_000, p=self._one)
        self._real = self._bits(self._encode(held_out)) if len(held_out) > LOOP else self._bits(ids[:HELD_OUT])
        self._noise = self._bits(noise)

    def read(self, text: str) -> Mapping[str, float]:
        """Return gibberish (0: held-out text, 1: random letters), words and repeat as shares, punctuation relative to
        the text's; empty below `LEAST` characters.
        """
        if len(text) < LEAST:
            return {}
        bits = self._bits(self._encode(text))
        words = WORD.findall(text)
        loops = len(text) - LOOP + 1
        marks = sum(c in self._marks for c in text) / len(text)
        return {"gibberish": round(float(np.clip((bits - self._real) / max(self._noise - self._real, 0.1), 0, 1.2)), 3),
                "words": round(sum(w.lower() in self._words for w in words) / max(1, len(words)), 3),
                "punctuation": round(marks / max(self._mark_rate, 1e-4), 2),
                "repeat": round(1 - len({text[i : i + LOOP] for i in range(loops)}) / loops, 3)}

    def _encode(self, text: str) -> NDArray[np.int64]:
        unknown = len(self._ids)
        return np.fromiter((self._ids.get(c, unknown) for c in text), dtype=np.int64, count=len(text))

    def _bits(self, ids: NDArray[np.int64]) -> float:
        """Return the mean surprise of a character after the two before it, in bits."""
        size, a, b, c = self._size, ids[:-2], ids[1:-1], ids[2:]
        pair = b * size + c
        two = (_found(self._pairs, pair) + PULL * self._one[c]) / (self._singles[b] + PULL)
        context = _found(self._pairs, a * size + b)
        three = (_found(self._triples, a * size * size + pair) + PULL * two) / (context + PULL)
        return float(-np.log2(three).mean())


def _found(table: tuple[NDArray[np.int64], NDArray[np.int64]], keys: NDArray[np.int64]) -> NDArray[np.float64]:
    known, counts = table
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, counts[at], 0).astype(float)
