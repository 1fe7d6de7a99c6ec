"""The whole step as one CUDA graph: what is left of its launch cost is one launch. Used on a GPU only."""

import torch

from tuitrain.engine.learner import Learner

WARM_UP = 3
"""Steps before capture: cuDNN sets up its dropout state and the optimizer its moments, which must not be captured."""


def capture(learner: Learner) -> None:
    """Replace the learner's eager step by a replay. The caller saves the run's state before and restores it after.

    No other CUDA work may run in this process meanwhile. Raises RuntimeError if CUDA refuses.
    """
    learner.prepare_capture()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            learner.advance()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        learner.advance()
    learner.captured(graph.replay)
