"""Collects the numbers of each step (loss, gradient norm, learning rate) from optimizer hooks and from the clip call.

Nothing here waits for a device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tuitrain.watching.gradients import Grouped, GroupNorms, global_norm, gradient_norms, unscaled
from tuitrain.watching.numbers import Numbers, value_of
from tuitrain.watching.rates import Rates
from tuitrain.watching.subject import Subject


@dataclass(slots=True)
class _Step:
    """The numbers of a step before it is counted."""

    losses: list[Any] = field(default_factory=list)
    clipped: list[Any] = field(default_factory=list)
    """Norms before clipping, from calls of clip_grad_norm_."""
    seen: list[Any] = field(default_factory=list)
    """Norms measured by the optimizer hooks."""
    groups: GroupNorms | None = None
    clip: float = 0.0
    rate: Any = 0.0
    updates: int = 0
    doubtful: bool = False
    """Whether a gradient scaler decides on the device if the step counts; then no norm raises an alarm."""


class Recorder:
    """Collects the numbers of a step until `close_step`."""

    def __init__(self, subject: Subject, groups: Grouped, device: torch.device) -> None:
        self._subject, self.groups, self.device = subject, groups, device
        self.numbers = Numbers()
        self.rates = Rates(subject.optimizers, lambda: subject.factor)
        self.every: Callable[[], int] = lambda: 1
        self.clips = False
        """Whether the loop clips with `clip_grad_norm_`."""
        self.updates = 0
        self.inside = False
        """Whether the optimizer is in the middle of a step."""
        self.script_clip: float | None = None
        """The threshold that the script last passed, 0 for none. As long as the knob differs from it, the knob was
        changed by someone and wins."""
        self._now = _Step()

    def loss(self, loss: Any) -> None:
        """Add the loss of a step, or of one of its backward passes."""
        self._now.losses.append(value_of(loss))

    @property
    def stepped(self) -> bool:
        """Whether an optimizer has made a step since the last `close_step`."""
        return self._now.updates > 0

    def threshold(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float | None:
        """Return the clip to use: the script's own, or the knob's if that was changed; None for no clipping."""
        self.clips = True
        asked = float(max_norm) if math.isfinite(max_norm) else 0.0
        clip = self._subject.knobs.clip
        if self._is_sampled:
            mine, each = gradient_norms(parameters)
            if each:
                self._now.groups = self.groups.norms(mine, each)
        if clip == self.script_clip or self.script_clip is None:
            self.script_clip = asked
            return asked or None
        return clip or None

    def clipped(self, norm: Tensor, clip: float | None) -> None:
        """Add a norm before clipping, and the threshold it was clipped at."""
        self._now.clipped.append(norm)
        self._now.clip = clip or 0.0

    def before(self, optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
        """Run before an optimizer step: measure the gradients, apply the learning rate factor."""
        self.inside = True
        now = self._now
        if getattr(optimizer, "found_inf", None) is not None:
            now.doubtful = True
        # With a closure the gradients are computed inside the step; those present now belong to the previous one.
        closure = any(callable(arg) for arg in (*args, *(kwargs or {}).values()))
        if not now.clipped and not closure:
            mine, each = gradient_norms(p for group in optimizer.param_groups for p in group["params"])
            if each:
                scale = getattr(optimizer, "grad_scale", None)
                if isinstance(scale, Tensor):
                    each = unscaled(each, scale)
                now.seen.append(global_norm(each))
                if self._is_sampled:
                    now.groups = self.groups.norms(mine, each)
        self.rates.multiply(optimizer)
        if optimizer is self._subject.optimizers[0]:
            rate = optimizer.param_groups[0]["lr"]
            now.rate = value_of(rate) if isinstance(rate, Tensor) else float(rate)

    def after(self, optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
        """Run after an optimizer step: restore the learning rates, count the update."""
        self.rates.restore()
        self._now.updates += 1
        self.updates += 1
        self.inside = False

    def carry_losses_over(self) -> None:
        """Keep only the losses for the next step.

        For a call without an optimizer step: more backward passes follow, or a gradient scaler skipped the step.
        """
        losses, self._now = self._now.losses[-1000:], _Step()
        self._now.losses = losses

    def close_step(self) -> None:
        """Count the collected numbers as the next step."""
        now, self._now = self._now, _Step()
        self._subject.stepped()
        norms = now.clipped or now.seen
        norm: Any = None
        if norms:
            each = [value_of(one) for one in norms]
            norm = each[0] if len(each) == 1 else global_norm(each)
        step = self._subject.progress.step
        measured = norm is not None and not now.doubtful
        if now.doubtful and norm is not None:
            norm = _finite_or_nan(norm)
        clip = now.clip if now.clipped or self.script_clip is None else self._subject.knobs.clip
        self.numbers.step(step, _mean(now.losses), math.nan if norm is None else norm, now.rate, clip, now.groups,
                          measured=measured)

    def discard(self) -> None:
        """Drop the collected numbers, because the run was restored to another step."""
        self._now = _Step()

    @property
    def _is_sampled(self) -> bool:
        return self._subject.progress.step % self.every() == 0


def _mean(values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    if not values:
        return math.nan
    if any(isinstance(v, Tensor) for v in values):
        device = next(v.device for v in values if isinstance(v, Tensor))
        return torch.stack([torch.as_tensor(v, dtype=torch.float32, device=device) for v in values]).mean()
    return sum(values) / len(values)


def _finite_or_nan(norm: Any) -> Any:
    """Replace a norm that is not finite by nan: a gradient scaler skips such a step by itself."""
    if isinstance(norm, Tensor):
        return torch.where(norm.isfinite(), norm, torch.full_like(norm, torch.nan))
    return norm if math.isfinite(norm) else math.nan
