"""Reference levels for a loss: the bits per character of letter, letter pair and letter triple counts. No network."""

import numpy as np
from numpy.typing import NDArray

from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.telemetry.units import LEAST

MOST = 4_000_000
"""Maximum characters that are counted: enough for three digits, and counted in well under a second."""
NAMES = ("letters alone", "letter pairs", "letter triples")


def levels(corpus: Corpus) -> dict[str, float]:
    """Return the bits per character of the validation part under n-grams of one, two and three characters.

    Counted on the training part (the `MOST` characters next to the validation part) and smoothed after Witten and Bell
    (1991): a context followed by d different characters passes d / (n + d) on to the shorter one. For a text whose
    entropy rate is known, `LEAST` is that rate.
    """
    size = len(corpus.vocabulary)
    train, val = corpus.train[-MOST:].astype(np.int64), corpus.validation[:MOST].astype(np.int64)
    found = {}
    chance = np.full(len(val), 1.0 / size)
    for order, name in enumerate(NAMES):
        if min(len(train), len(val)) <= order:
            break
        chance = _chances(_keys(train, order, size), _keys(val, order, size), size, chance[-(len(val) - order) :])
        found[name] = float(-np.log2(chance[len(NAMES) - 1 - order :]).mean())
    if corpus.entropy_rate is not None:
        found[LEAST] = corpus.entropy_rate
    return found


def _keys(ids: NDArray[np.int64], order: int, size: int) -> NDArray[np.int64]:
    """Encode each character with the `order` characters before it as one number."""
    keys = np.zeros(len(ids) - order, dtype=np.int64)
    for i in range(order + 1):
        keys = keys * size + ids[i : len(ids) - order + i]
    return keys


def _chances(train: NDArray[np.int64], val: NDArray[np.int64], size: int,
             shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of the keys of `val`, given those of the next shorter order."""
    keys, counts = np.unique(train, return_counts=True)
    contexts, first, kinds = np.unique(keys // size, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first)
    n = _look_up(val, keys, counts)
    total, kind = _look_up(val // size, contexts, totals), _look_up(val // size, contexts, kinds)
    # For a context that never occurred in training the shorter one is used.
    return np.where(total > 0, (n + kind * shorter) / np.maximum(total + kind, 1), shorter)


def _look_up(wanted: NDArray[np.int64], keys: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
