"""Watches a Hugging Face Trainer: `Trainer(callbacks=[tuitrain.transformers.Pilot()])`.

Requires the package `transformers`, which tuitrain does not install.
"""

from typing import Any

import torch

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError("tuitrain.transformers needs Transformers: pip install transformers accelerate") from None

from tuitrain import watching
from tuitrain.protocol import commands as c

NO_WAY_BACK = "the Trainer cannot go back in a run: stop, then trainer.train(resume_from_checkpoint=…)"


class Pilot(TrainerCallback):
    """A callback that takes the keyword arguments of `tuitrain.watch`.

    The Trainer exposes no gradients before its own clipping, so norms are measured after it; the clip itself is a knob,
    because `max_grad_norm` is read at each step. Losses are taken from the model's outputs. There is no rollback: stop,
    then train with `resume_from_checkpoint`.
    """

    def __init__(self, **how: Any) -> None:
        self._how = how
        self.pilot: watching.Pilot | None = None
        self._losses: list[torch.Tensor] = []
        self._hook: Any = None
        self._parts = 1

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None,
                       lr_scheduler: Any = None, **more: Any) -> None:
        """Called by the Trainer."""
        how = {"total_steps": state.max_steps, **self._how}
        self.pilot = watching.watch(model, getattr(optimizer, "optimizer", optimizer), **how)
        self.pilot.resumes_by(f"tuitrain.transformers.Pilot(run={self.pilot.run!r}, resume=True)")
        self.pilot.lacks(c.Rollback, NO_WAY_BACK)
        self.pilot.own_clip(args.max_grad_norm)
        self._parts = args.gradient_accumulation_steps
        self._hook = model.register_forward_hook(self._seen, with_kwargs=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Called by the Trainer after each optimizer step."""
        if self.pilot is None:
            return
        losses, self._losses = self._losses, []
        mean = torch.stack([loss.float() for loss in losses]).mean() if losses else float("nan")
        if not self.pilot.step(mean, epoch=state.epoch):
            control.should_training_stop = True
        args.max_grad_norm = self.pilot.clip_in_force(args.max_grad_norm)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Called by the Trainer, whose logs contain the norm before clipping."""
        if self.pilot is not None and logs and "grad_norm" in logs:
            self.pilot.log(norm_before_clipping=logs["grad_norm"])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        """Called by the Trainer."""
        if self.pilot is not None and metrics and "eval_loss" in metrics:
            self.pilot.evaluated(metrics["eval_loss"])

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Called by the Trainer."""
        if self._hook is not None:
            self._hook.remove()
        if self.pilot is not None:
            self.pilot.close()

    def _seen(self, model: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        """Forward hook: collect the loss of one forward pass, which may be a part of a step."""
        loss = outputs.get("loss") if hasattr(outputs, "get") else None
        if model.training and loss is not None:
            # Given the number of items of the whole step, the model divides by that; otherwise by the items of this
            # pass.
            whole = self._parts if kwargs.get("num_items_in_batch") is not None else 1
            self._losses.append(loss.detach() * whole)
