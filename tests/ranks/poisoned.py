"""`tuitrain` with a hidden state that is not a number, once, on rank 1 alone."""

import os
import sys

from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.text.batches import Batch
from tuitrain.cli.main import main

POISONED = 30
"""The step before which it happens."""


class Poisoned(Learner):
    """Counts its steps and spoils what it carries into one of them."""

    steps = 0

    def step(self, batch: Batch, lr: float, clip: float) -> None:
        self.steps += 1
        if self.steps == POISONED:
            self.hidden[0].fill_(float("nan"))
            batch = Batch(batch.offsets, fresh=False)
        super().step(batch, lr, clip)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        import tuitrain.charlstm.machine as machine

        machine.Learner = Poisoned  # type: ignore[misc,attr-defined]
    sys.exit(main())
