"""A Lightning Trainer as a watched loop: `Trainer(callbacks=[tuitrain.lightning.Pilot()])`.

Needs the package `lightning` (or `pytorch_lightning`), which tuitrain does not bring.
"""

import math
from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise ImportError("tuitrain.lightning needs Lightning: pip install lightning") from None

from tuitrain import watching
from tuitrain.watching.offers import BY_VALUE


class Pilot(Callback):
    """Takes what `tuitrain.watch` takes by name; `monitor` is the metric that counts as the validation loss.

    Gradients are seen before clipping, and the clip of the very step is the knob's (`gradient_clip_val`). A stop ends
    the fit after the batch. A rollback sets weights, optimizers, schedulers and generators back; the data and the
    Trainer's own counts go on.
    """

    def __init__(self, *, monitor: str = "val_loss", **how: Any) -> None:
        self._monitor, self._how = monitor, how
        self.pilot: watching.Pilot | None = None
        self._clip = math.inf

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Called by Lightning."""
        if not trainer.is_global_zero:
            return
        total = trainer.estimated_stepping_batches
        how = {"total_steps": int(total) if math.isfinite(total) else None,
               "scheduler": [config.scheduler for config in trainer.lr_scheduler_configs], **self._how}
        self.pilot = watching.watch(pl_module, list(trainer.optimizers), **how)
        self._clip = trainer.gradient_clip_val or math.inf
        if trainer.gradient_clip_algorithm == "value":
            self.pilot.lacks_clip(BY_VALUE)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Called by Lightning between the backward pass and the clip."""
        if self.pilot is None:
            return
        members = [p for group in optimizer.param_groups for p in group["params"]]
        if trainer.gradient_clip_algorithm == "value":
            self.pilot.see_gradients(members, math.inf)
            return
        trainer.gradient_clip_val = self.pilot.see_gradients(members, self._clip)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called by Lightning."""
        if self.pilot is None:
            return
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        batches = trainer.num_training_batches
        epoch = trainer.current_epoch + ((batch_idx + 1) / batches if math.isfinite(batches) else 0)
        loss = math.nan if loss is None else loss * trainer.accumulate_grad_batches  # Lightning divides it
        if not self.pilot.step(loss, epoch=epoch):
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Called by Lightning."""
        if self.pilot is not None and not trainer.sanity_checking and self._monitor in trainer.callback_metrics:
            self.pilot.evaluated(trainer.callback_metrics[self._monitor])

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Called by Lightning."""
        if self.pilot is not None:
            self.pilot.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Called by Lightning."""
        if self.pilot is not None:
            self.pilot.__exit__(type(exception), exception, exception.__traceback__)
