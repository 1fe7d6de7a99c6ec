"""Times steps of the kind that the run will make: the same learner, on a GPU as a graph. Compares no candidates."""

import time
from collections.abc import Callable

import numpy as np

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.evaluator import make_model
from tuitrain.charlstm.model import capture, optimizers
from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.text.batches import Batch

STEPS, SECONDS = 100, 1.0
"""Largest number of timed steps, and about the largest time in seconds."""


def seconds(config: Config, characters: int, record: capture.Recorder = capture.record,
            clock: Callable[[], float] = time.perf_counter) -> tuple[float, str]:
    """Return the seconds of a step of a scratch model on random text, and whether it was `captured` or `eager`.

    Steps follow one another without waiting in between, as in a run. `config` names the device.
    """
    model = make_model(config, characters).to(config.device)
    length = config.bptt + config.batch_size
    text = np.random.default_rng(0).integers(characters, size=length, dtype=np.uint32)
    learner = Learner(config, model, optimizers.make(config, model), text)
    batch = Batch(np.arange(config.batch_size, dtype=np.int64), fresh=config.loss == "last")
    how = "eager"

    def steps(count: int) -> float:
        began = clock()
        for _ in range(count):
            learner.step(batch, 1e-4, 1.0)
        learner.rows.remembered(1)  # waits for the step
        return clock() - began

    steps(capture.WARM_UP)
    if config.graph != "off":
        try:
            learner.capture(record)
            how = "captured"
        except RuntimeError:
            learner.release()
        steps(1)
    one = max(steps(1), 1e-6)
    count = max(1, min(STEPS, int(SECONDS / one)))
    return steps(count) / count, how
