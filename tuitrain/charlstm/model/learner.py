"""Makes optimisation steps and keeps their numbers as rows on the device. Knows nothing of epochs or events.

No host sync per step on a GPU, and nothing is rebuilt when a knob changes: learning rate and clip are scalars on the
device, so the whole step can be captured as one CUDA graph (capture.py).
"""

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model import precision
from tuitrain.charlstm.model.gradients import Gradients
from tuitrain.charlstm.model.network import CharRNN, Hidden
from tuitrain.charlstm.model.optimizers import Optimizer
from tuitrain.charlstm.model.whole_batch import WholeBatch
from tuitrain.charlstm.text.batches import Batch
from tuitrain.engine import devices
from tuitrain.engine.reporter import COLUMNS
from tuitrain.engine.rows import LENGTH, Lead, Rows


class Learner:
    """Trains the model: `step` learns from one batch; `rows` has the numbers of the steps."""

    def __init__(self, config: Config, model: CharRNN, optimizer: Optimizer, train: NDArray[np.uint32],
                 batch: WholeBatch | None = None) -> None:
        self._batch = batch or WholeBatch()
        rows = self._batch.count(config.batch_size)
        self.model = model
        self.optimizer = optimizer
        self.gradients = Gradients(model)
        self._config = config
        self._device = next(model.parameters()).device
        self.forward = precision.forward(model, self._device, config.precision, self._batch)
        self._ids = torch.from_numpy(train.astype(np.int32)).to(self._device)
        self._offsets = torch.zeros(rows, 1, dtype=torch.int64, device=self._device)
        self._time = torch.arange(config.bptt, device=self._device)
        shape = (config.layers, rows, config.hidden)
        self.hidden: Hidden = tuple(torch.zeros(shape, device=self._device) for _ in model.cell.states)
        self._lr = torch.zeros((), device=self._device)
        self._clip = torch.zeros((), device=self._device)
        self._unscaled = torch.ones((), device=self._device)
        event = devices.events(self._device)
        self.rows = Rows(len(COLUMNS) + len(self.gradients.names), config.batch_size, self._device, event)
        self._lead = Lead(event)
        self._read: deque[NDArray[np.int64]] = deque(maxlen=LENGTH)
        self.replay: Callable[[], None] | None = None
        self.on_gradients: Callable[[], None] | None = None
        """Called between backward pass and norms; used to inject faults."""

    def step(self, batch: Batch, lr: float, clip: float) -> None:
        """Make one update. `lr` is the rate in force, `clip` the threshold, 0 for none."""
        self._offsets.copy_(torch.from_numpy(self._batch.of(batch.offsets)).unsqueeze(1), non_blocking=True)
        if batch.fresh:
            for state in self.hidden:
                state.zero_()
        self._lr.fill_(lr)
        self._clip.fill_(clip if clip > 0 else torch.inf)
        # On a GPU the optimizer reads the rate from the device even in eager steps, so that a graph rounds it the same.
        self.optimizer.set_lr(lr if self._device.type == "cpu" else self._lr)
        (self.replay or self.advance)()
        self._lead.step()
        self.rows.count()
        self._read.append(batch.offsets)

    def capture(self, record: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """Make `step` a replay of what `record` returns. Leaves the buffers of a step in an undefined state."""
        self.release()
        self.optimizer.set_lr(self._lr)
        self.replay = record(self.advance)

    def forget(self) -> None:
        """Drop the numbers of all steps so far."""
        self.rows.forget()
        self._read.clear()

    def release(self) -> None:
        """Return to eager steps, and release the memory of a graph or of a failed capture."""
        self.replay = None
        self.forward.forget()

    def advance(self) -> None:
        """Run the step itself on the buffers that `step` has filled."""
        config = self._config
        where = self._offsets + self._time
        inputs = self._ids[where].long()
        if config.loss == "last":
            targets = self._ids[self._offsets + config.bptt].long()
        else:
            targets = self._ids[where + 1].long()
        logits, hidden = self.forward(inputs, self.hidden, last=config.loss == "last")
        each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        mine = each.mean()
        self.forward.backward(mine)
        if self.on_gradients is not None:
            self.on_gradients()
        norm, group_norms = self.gradients.norms()
        loss, rows, carried = self._batch.together(
            mine.detach(), each.detach().view(len(self._offsets), -1).mean(1), _finite(hidden))
        finite = loss.isfinite() & norm.isfinite()
        self._limit(norm)
        self.optimizer.step((~finite).float())
        self._carry(hidden, finite & carried)
        scale = self.forward.scale
        clipped = norm > self._clip
        row = torch.stack([loss, norm, clipped.float(), (~finite).float(), self._lr, self._clip,
                           self._unscaled if scale is None else scale.value])
        self.rows.write(torch.cat([row, group_norms]), rows)
        if scale is not None:
            scale.update(loss.isfinite() & ~norm.isfinite())

    def _limit(self, norm: Tensor) -> None:
        if self._config.clip_kind == "element":
            self.gradients.clamp(self._clip)
        # On a CPU reading the norm costs nothing, while scaling by a factor of 1 would cost a pass over all gradients.
        elif self._device.type != "cpu" or bool(norm > self._clip):
            self.gradients.clip(norm, self._clip)

    def _carry(self, hidden: Hidden, good: Tensor) -> None:
        """Carry over the new hidden state, detached, or the previous one if the step or the new state is not finite."""
        for old, new in zip(self.hidden, hidden, strict=True):
            old.copy_(torch.where(good, new.detach(), old.nan_to_num(0.0, 0.0, 0.0)))

    def remembered_streams(self, count: int) -> tuple[NDArray[np.float32], list[NDArray[np.int64]]]:
        """Return (mean loss of each batch row [steps, B], offsets of those rows) of the last `count` steps."""
        return self.rows.remembered_streams(count), list(self._read)[-count:]


def _finite(hidden: Hidden) -> Tensor:
    """Whether all states are finite []."""
    good = hidden[0].detach().isfinite().all()
    for state in hidden[1:]:
        good = good & state.detach().isfinite().all()
    return good
