"""How long a step takes that runs as the run's own will: the same learner, on a GPU as a graph. Knows no candidates."""

import time
from collections.abc import Callable

import numpy as np

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.evaluator import make_model
from tuitrain.charlstm.model import capture, optimizers
from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.text.batches import Batch

STEPS, SECONDS = 100, 1.0
"""So many steps are timed at the most, for about so long."""


def seconds(config: Config, characters: int, record: capture.Recorder = capture.record,
            clock: Callable[[], float] = time.perf_counter) -> tuple[float, str]:
    """Seconds of a step of a scratch model that reads nothing in particular, and whether it was `captured` or `eager`.

    Steps follow one another without a wait in between, as they do in a run. `config` names its device.
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
        learner.rows.remembered(1)  # waits for it
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
