"""Samples characters one at a time from a numpy copy of the weights. Knows nothing of training, pacing or prompts.

One character through torch's layers costs ten times its arithmetic; a matrix-vector product per layer, with the first
layer's input product read from a table, costs little more than the arithmetic.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.charlstm.model.cells import CELLS

Array = NDArray[np.float32]


class NumpyRNN:
    """The model of network.py in numpy, without dropout. `weights` are its parameters by name."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], cell: str, layers: int) -> None:
        w = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in weights.items()}
        self.layers = layers
        self._cell = CELLS[cell]

        def each(name: str) -> list[Array]:
            return [w[f"{cell}.{name}_l{layer}"] for layer in range(layers)]

        self._inputs, self._input_bias = each("weight_ih"), each("bias_ih")
        self._recurrent, self._bias = each("weight_hh"), each("bias_hh")
        self.hidden = self._recurrent[0].shape[1]
        # One row per character: the first layer's input product. For one-hot input it is the matrix itself.
        embedding, inputs = w.get("embedding.weight"), self._inputs[0].T
        self._table: Array = (inputs if embedding is None else embedding @ inputs) + self._input_bias[0]
        self._head, self._head_bias = w["head.weight"], w["head.bias"]

    def start(self) -> tuple[Array, ...]:
        """The cell's states, each zero [layers, hidden]."""
        return tuple(np.zeros((self.layers, self.hidden), dtype=np.float32) for _ in self._cell.states)

    def step(self, character: int, state: tuple[Array, ...]) -> Array:
        """Return the logits [characters] after one more character; `state` is changed in place."""
        inputs, h = self._table[character], state[0]
        for layer in range(self.layers):
            if layer:
                inputs = self._inputs[layer] @ h[layer - 1]
                inputs += self._input_bias[layer]
            recurrent = self._recurrent[layer] @ h[layer]
            recurrent += self._bias[layer]
            self._cell.step(inputs, recurrent, tuple(each[layer] for each in state))
        return self._head @ h[-1] + self._head_bias


def draw(logits: Array, temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    """Draw a character from softmax(logits / temperature); return it and its surprise in bits at temperature 1.

    Non-finite logits count as impossible; if all are, the characters are equally likely.
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

    def __init__(self, model: NumpyRNN, prompt: NDArray[np.uint32], length: int, temperature: float,
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
        """Process up to `characters` characters, those of the prompt first; return the drawn ids and their surprise."""
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
