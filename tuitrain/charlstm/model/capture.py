"""Captures the whole step as one CUDA graph and verifies that it computes the same as the eager step.

Most of a small model's step is the cost of launching some hundred kernels; a graph is launched once. Knows no schedule.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuitrain.charlstm.model.network import CharRNN

Step = Callable[[], None]
Recorder = Callable[[Step], Step]
"""Turns a step into its replay, and may run the step a few times before. Raises RuntimeError if the device refuses."""
WARM_UP = 3
"""Steps before capture, in which cuDNN sets up its dropout state and the optimizer its moments, outside the graph."""
COMPARED = 3
"""Steps that are compared. The third one depends on weights and moments that the graph itself computed."""
ALIKE = 1e-5
"""Largest relative difference between replayed and eager steps, as cuDNN may sum in another order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of some steps: their rows [steps, columns], the state after them by name, and their seconds."""

    rows: NDArray[np.float32]
    state: Mapping[str, Tensor]
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """The comparison of replayed steps with eager ones from the same state."""

    exact: bool
    off: float
    """The largest relative difference of numbers in the rows; inf if only one of two is finite."""
    gain: float
    """Time of the eager steps relative to the replayed ones."""

    @property
    def trusted(self) -> bool:
        """Whether the graph computes the same as the eager step."""
        return self.exact or self.off <= ALIKE


def prove(eager: Callable[[], Outcome], replayed: Callable[[], Outcome]) -> Proof:
    """Compare steps that begin in the same state. Both functions are called twice, the first time as a warm-up."""
    eager()
    a = eager()
    replayed()
    b = replayed()
    exact = np.array_equal(a.rows, b.rows, equal_nan=True) and a.state.keys() == b.state.keys() and all(
        torch.equal(tensor, b.state[name]) for name, tensor in a.state.items())
    return Proof(exact, _off(a.rows, b.rows), a.seconds / max(b.seconds, 1e-9))


def _off(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if a.shape != b.shape:
        return float("inf")
    both = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~both], b[~both], equal_nan=True):
        return float("inf")
    x, y = a[both].astype(float), b[both].astype(float)
    return float(np.max(np.abs(x - y) / np.maximum(np.abs(x), 1e-12), initial=0.0))


@contextlib.contextmanager
def without_dropout(model: CharRNN) -> Iterator[None]:
    """Disable dropout in a context: cuDNN's dropout cannot be rewound, so no two steps would be equal."""
    between, before_head = model.rnn.dropout, model.dropout.p
    model.rnn.dropout = model.dropout.p = 0.0
    try:
        yield
    finally:
        model.rnn.dropout, model.dropout.p = between, before_head


def record(step: Step, cuda: Any = torch.cuda) -> Step:
    """Capture a step on the current GPU and return its replay.

    After a RuntimeError, stream and generator are restored. Only calls of this thread can make the capture fail, so
    another thread may read a snapshot or the GPU's memory meanwhile.
    """
    stream, side = cuda.current_stream(), cuda.Stream()
    generator = cuda.default_generators[cuda.current_device()]
    untouched = generator.clone_state()
    try:
        side.wait_stream(stream)
        with cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        stream.wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    except RuntimeError:
        # A failed capture leaves its stream the current one, and its generator in capture mode.
        cuda.set_stream(stream)
        generator.graphsafe_set_state(untouched)
        raise
    return graph.replay
