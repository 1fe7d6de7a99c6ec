"""A numpy copy of the weights -> characters, one at a time. Knows nothing of training, pacing or prompts.

One character through `nn.LSTM` costs ten times its arithmetic; a matrix-vector product per layer, with the first
layer's input product read from a table, costs little more than the arithmetic.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class NumpyLSTM:
    """The model of model.py in numpy, without dropout. `weights` are its parameters by name."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], layers: int) -> None:
        w = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in weights.items()}
        self.layers = layers
        self.hidden = w["lstm.weight_hh_l0"].shape[1]
        bias = [w[f"lstm.bias_ih_l{n}"] + w[f"lstm.bias_hh_l{n}"] for n in range(layers)]
        inputs = w["lstm.weight_ih_l0"].T
        # One row per character: what the first layer makes of it before the recurrent part. One-hot input is the
        # matrix itself.
        embedding = w.get("embedding.weight")
        self._table: Array = (inputs if embedding is None else embedding @ inputs) + bias[0]
        self._recurrent = w["lstm.weight_hh_l0"]
        self._stacked = [np.concatenate([w[f"lstm.weight_ih_l{n}"], w[f"lstm.weight_hh_l{n}"]], axis=1)
                         for n in range(1, layers)]
        self._bias = bias
        self._head, self._head_bias = w["head.weight"], w["head.bias"]

    def start(self) -> tuple[Array, Array]:
        """A zero hidden state: h and c, each [layers, hidden]."""
        shape = (self.layers, self.hidden)
        return np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)

    def step(self, character: int, state: tuple[Array, Array]) -> Array:
        """Logits [characters] after one more character; the state is changed in place."""
        h, c = state
        gates = self._table[character] + self._recurrent @ h[0]
        self._cell(gates, h[0], c[0])
        for layer in range(1, self.layers):
            stacked = np.concatenate([h[layer - 1], h[layer]])
            gates = self._stacked[layer - 1] @ stacked + self._bias[layer]
            self._cell(gates, h[layer], c[layer])
        return self._head @ h[-1] + self._head_bias

    def _cell(self, gates: Array, h: Array, c: Array) -> None:
        n = self.hidden
        # torch's order: input, forget, candidate, output. sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow.
        sigmoids = 0.5 * (1.0 + np.tanh(0.5 * gates))
        c *= sigmoids[n : 2 * n]
        c += sigmoids[:n] * np.tanh(gates[2 * n : 3 * n])
        np.multiply(sigmoids[3 * n :], np.tanh(c), out=h)


def draw(logits: Array, temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    """A character drawn from softmax(logits / temperature), and its surprise in bits at temperature 1.

    Logits that are not finite count as impossible; if none is finite, every character is as likely.
    """
    logits = logits.astype(np.float64)
    bad = ~np.isfinite(logits)
    if bad.any():
        logits = np.zeros_like(logits) if bad.all() else np.where(bad, -np.inf, logits)
    logits -= logits.max()
    scaled = np.exp(logits / temperature)
    chosen = int(np.searchsorted(np.cumsum(scaled), rng.random() * scaled.sum(), side="right"))
    chosen = min(chosen, len(logits) - 1)
    return chosen, float((np.log(np.exp(logits).sum()) - logits[chosen]) / np.log(2))


class Stream:
    """A sample being drawn: prompt first, then `length` characters."""

    def __init__(self, model: NumpyLSTM, prompt: NDArray[np.uint32], length: int, temperature: float,
                 rng: np.random.Generator) -> None:
        self._model, self._rng, self._temperature = model, rng, temperature
        self._state = model.start()
        self._feed = [int(i) for i in prompt] or [int(rng.integers(len(model._table)))]
        self._left = length
        self._logits: Array | None = None

    @property
    def done(self) -> bool:
        return self._left <= 0

    def advance(self, characters: int) -> tuple[list[int], list[float]]:
        """Up to so many characters of work; those of the prompt count but yield nothing."""
        ids: list[int] = []
        bits: list[float] = []
        for _ in range(characters):
            if self._feed:
                self._logits = self._model.step(self._feed.pop(0), self._state)
                continue
            if self.done or self._logits is None:
                break
            chosen, surprise = draw(self._logits, self._temperature, self._rng)
            ids.append(chosen)
            bits.append(surprise)
            self._left -= 1
            self._logits = self._model.step(chosen, self._state)
        return ids, bits
