"""Watches a Lightning Trainer: `Trainer(callbacks=[tuitrain.lightning.Pilot()])`.

Requires the package `lightning` (or `pytorch_lightning`), which tuitrain does not install.
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
    """A callback that takes the keyword arguments of `tuitrain.watch`; `monitor` names the validation loss metric.

    Gradients are measured before clipping, and the knob sets the clip of the same step (`gradient_clip_val`). A stop
    ends the fit after the batch. A rollback restores weights, optimizers, schedulers and random generators; the data
    and the Trainer's own counters go on.
    """

    def __init__(self, *, monitor: str = "val_loss", **how: Any) -> None:
        self._monitor, self._how = monitor, how
        self.pilot: watching.Pilot | None = None
        self._clip = math.inf

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Called by Lightning."""
        total = trainer.estimated_stepping_batches
        how = {"total_steps": int(total) if math.isfinite(total) else None,
               "scheduler": [config.scheduler for config in trainer.lr_scheduler_configs], **self._how}
        self.pilot = watching.watch(pl_module, list(trainer.optimizers), **how)
        self.pilot.resumes_by(f"tuitrain.lightning.Pilot(run={self.pilot.run!r}, resume=True)")
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
        # Lightning has divided the loss by the number of accumulated batches.
        loss = math.nan if loss is None else loss * trainer.accumulate_grad_batches
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
