"""What is read off each step: loss, gradient norm, rates. Hooks on the optimizers, and the clip in the loop's name.

Nothing here waits for a device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tuitrain.watching.gradients import Grouped, norm_of_each, total
from tuitrain.watching.numbers import Numbers, value_of
from tuitrain.watching.rates import Rates
from tuitrain.watching.subject import Subject


@dataclass(slots=True)
class _Step:
    """What is known of a step before it is counted."""

    losses: list[Any] = field(default_factory=list)
    clipped: list[Tensor] = field(default_factory=list)
    """Norms from calls of clip_grad_norm_, before clipping."""
    seen: list[Tensor] = field(default_factory=list)
    """Norms that the hooks saw."""
    groups: Tensor | None = None
    clip: float = 0.0
    rate: Any = 0.0
    updates: int = 0
    doubtful: bool = False
    """A gradient scaler decides on the device whether the step counts: no norm is an alarm."""


class Recorder:
    """Collects a step's numbers until `close_step`."""

    def __init__(self, subject: Subject, groups: Grouped, device: torch.device) -> None:
        self._subject, self.groups, self.device = subject, groups, device
        self.numbers = Numbers()
        self.rates = Rates(subject.optimizers, lambda: subject.factor)
        self.every: Callable[[], int] = lambda: 1
        self.clips = False
        """Whether the loop clips by `clip_grad_norm_`."""
        self.updates = 0
        self.inside = False
        """The optimizer is in the middle of a step."""
        self.limited: float | None = None
        """The threshold that the loop passed when nobody had turned the knob, 0 for none: it is turned while it
        differs."""
        self._now = _Step()

    def loss(self, loss: Any) -> None:
        """The loss of a step, or of a part of it."""
        self._now.losses.append(value_of(loss))

    @property
    def stepped(self) -> bool:
        """Whether an optimizer has made a step since the last one was closed."""
        return self._now.updates > 0

    def threshold(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float | None:
        """What to clip at: the loop's own threshold, or the knob's if that was turned; None for no clip."""
        self.clips = True
        asked = float(max_norm) if math.isfinite(max_norm) else 0.0
        clip = self._subject.knobs.clip
        if self._is_sampled:
            mine, each = norm_of_each(parameters)
            if each:
                self._now.groups = self.groups.norms(mine, each)
        if clip == self.limited or self.limited is None:
            self.limited = asked
            return asked or None
        return clip or None

    def clipped(self, norm: Tensor, clip: float | None) -> None:
        """The norm before a clip, and the threshold."""
        self._now.clipped.append(norm)
        self._now.clip = clip or 0.0

    def before(self, optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
        """The hook before an optimizer's step."""
        self.inside = True
        now = self._now
        if getattr(optimizer, "found_inf", None) is not None:
            now.doubtful = True
        # With a closure the gradients are computed inside the step; what is there now is of the one before.
        closure = any(callable(arg) for arg in (*args, *(kwargs or {}).values()))
        if not now.clipped and not closure:
            mine, each = norm_of_each(p for group in optimizer.param_groups for p in group["params"])
            if each:
                norm, scale = total(each), getattr(optimizer, "grad_scale", None)
                now.seen.append(norm / scale if isinstance(scale, Tensor) else norm)
                if self._is_sampled:
                    found = self.groups.norms(mine, each)
                    now.groups = found / scale if found is not None and isinstance(scale, Tensor) else found
        self.rates.multiply(optimizer)
        if optimizer is self._subject.optimizers[0]:
            rate = optimizer.param_groups[0]["lr"]
            now.rate = value_of(rate) if isinstance(rate, Tensor) else float(rate)

    def after(self, optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
        """The hook after it."""
        self.rates.put_back()
        self._now.updates += 1
        self.updates += 1
        self.inside = False

    def part_of_a_step(self) -> None:
        """No optimizer made a step: more of it comes, or a scaler left it out. Only its losses count, with the next."""
        losses, self._now = self._now.losses[-1000:], _Step()
        self._now.losses = losses

    def close_step(self) -> None:
        """Count what was collected as the next step."""
        now, self._now = self._now, _Step()
        self._subject.stepped()
        norms = now.clipped or now.seen
        norm: Any = None
        if norms:
            norm = value_of(norms[0] if len(norms) == 1 else total(norms))
        step = self._subject.progress.step
        measured = norm is not None and not now.doubtful
        if now.doubtful and norm is not None:
            norm = _finite_or_nan(norm)
        clip = now.clip if now.clipped or self.limited is None else self._subject.knobs.clip
        self.numbers.step(step, _mean(now.losses), math.nan if norm is None else norm, now.rate, clip, now.groups,
                          measured=measured)

    def discard(self) -> None:
        """Forget what was collected: the run was set to another step."""
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
    """A norm that a scaler judges: what is not finite belongs to a step that it left out."""
    if isinstance(norm, Tensor):
        return torch.where(norm.isfinite(), norm, torch.full_like(norm, torch.nan))
    return norm if math.isfinite(norm) else math.nan
