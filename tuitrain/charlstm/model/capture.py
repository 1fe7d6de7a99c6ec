"""The whole step as one CUDA graph, and the proof that it computes what the eager step does. Knows no schedule.

Of a small model's step most is the cost of launching some hundred kernels; of a graph there is one launch.
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
"""Makes of a step its replay, and may run the step some times before. Raises RuntimeError if the device refuses."""
WARM_UP = 3
"""Steps before capture: cuDNN sets up its dropout state and the optimizer its moments, which must not be captured."""
COMPARED = 3
"""Steps that are compared. The third has seen weights and moments that are the graph's own."""
ALIKE = 1e-5
"""How far, relatively, the numbers of replayed steps may be from those of eager ones: the order of sums is cuDNN's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What steps from one state came to: their rows [steps, columns], the state after them by name, their seconds."""

    rows: NDArray[np.float32]
    state: Mapping[str, Tensor]
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """How replayed steps compare with eager ones from the same state."""

    exact: bool
    off: float
    """The largest relative difference of a number in the rows; inf if one of two is not finite."""
    gain: float
    """How many times as long the eager steps took."""

    @property
    def trusted(self) -> bool:
        """Whether the graph computes what the eager step does."""
        return self.exact or self.off <= ALIKE


def prove(eager: Callable[[], Outcome], replayed: Callable[[], Outcome]) -> Proof:
    """Compare steps that begin in the same state. Each is called twice: the first call pays for what is set up once."""
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
    """Let a model drop nothing meanwhile: cuDNN's dropout cannot be rewound, so no two steps would be alike."""
    between, before_head = model.rnn.dropout, model.dropout.p
    model.rnn.dropout = model.dropout.p = 0.0
    try:
        yield
    finally:
        model.rnn.dropout, model.dropout.p = between, before_head


def record(step: Step, cuda: Any = torch.cuda) -> Step:
    """The replay of a step that was captured on the current GPU.

    After a RuntimeError stream and generator are as before. Only this thread's errors count: another one may read a
    snapshot or the GPU's memory meanwhile.
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
        # Where a capture cannot be ended, its stream stays the current one and its generator waits for the end.
        cuda.set_stream(stream)
        generator.graphsafe_set_state(untouched)
        raise
    return graph.replay
