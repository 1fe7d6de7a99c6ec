"""Buffers the numbers of the last steps until they are reported.

Numbers on a GPU are fetched by one small asynchronous copy now and then; all others are host numbers at once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuitrain.engine import devices
from tuitrain.watching.gradients import GroupNorms

COLUMNS = 3
"""Loss, gradient norm, learning rate."""


@dataclass(slots=True)
class Window:
    """The numbers of consecutive steps from `first` on: rows of (loss, norm, lr) [steps, 3], the clip of each step,
    group norms of some steps, and the script's own curves.

    `asked` is the time on the caller's clock at which the window was closed.
    """

    first: int
    rows: NDArray[np.float32]
    clips: list[float]
    measured: list[bool]
    """For each step, whether its norm was measured, so that nan means a broken gradient."""
    groups: dict[int, NDArray[np.float32]]
    curves: dict[str, list[tuple[int, float]]]
    asked: float


@dataclass(slots=True)
class _Pending:
    first: int = 0
    values: list[Any] = field(default_factory=list)
    clips: list[float] = field(default_factory=list)
    measured: list[bool] = field(default_factory=list)
    groups: dict[int, Any] = field(default_factory=dict)
    curves: list[tuple[str, int, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Copying:
    pending: _Pending
    host: Tensor
    ready: torch.cuda.Event | None
    asked: float


def value_of(value: Any) -> Any:
    """Return a float, or for a tensor on another device a copy there, because the loop may overwrite the tensor."""
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() != 1:
        value = value.detach().float().mean()
    if value.is_cpu:
        return float(value.item())
    return value.detach().reshape(()).to(torch.float32, copy=True)


class Numbers:
    """Buffers rows: `step` adds one, `drain` returns those that are complete."""

    def __init__(self) -> None:
        self._pending = _Pending()
        self._copying: deque[_Copying] = deque()
        self.averaged: Callable[[list[Any]], list[Any]] = lambda losses: losses
        """Averages the losses of some steps over the processes that train together."""

    def step(self, step: int, loss: Any, norm: Any, lr: Any, clip: float, groups: GroupNorms | None = None, *,
             measured: bool = True) -> None:
        """Add the numbers of a step, each as returned by `value_of`, and its norms per group.

        `measured` says that the norm was measured, so that nan means a broken gradient.
        """
        pending = self._pending
        if not pending.clips:
            pending.first = step
        pending.values += (loss, norm, lr)
        pending.clips.append(clip)
        pending.measured.append(measured)
        if groups is not None:
            pending.groups[step] = groups

    def curve(self, name: str, step: int, value: Any) -> None:
        """Add a value of a curve that the script logs itself."""
        self._pending.curves.append((name, step, value))

    @property
    def waiting(self) -> int:
        """Number of steps that were not drained yet."""
        return len(self._pending.clips)

    def losses(self) -> list[Any]:
        """Return and drop the losses of all steps that were not drained yet, with everything else of these steps."""
        losses = self._pending.values[::COLUMNS]
        self.forget()
        return losses

    def forget(self) -> None:
        """Drop everything that was not returned yet."""
        self._pending = _Pending()
        self._copying.clear()

    def drain(self, clock: Callable[[], float], *, wait: bool) -> list[Window]:
        """Return the windows that have arrived, oldest first; with `wait`, wait for the device and return all."""
        windows = self._arrived(wait)
        pending = self._pending
        if not pending.clips and not pending.curves:
            return windows
        self._pending = _Pending()
        pending.values[::COLUMNS] = self.averaged(pending.values[::COLUMNS])
        on_device = [v for v in (*pending.values, *(value for _, _, value in pending.curves), *pending.groups.values())
                if isinstance(v, Tensor)]
        if not on_device:
            return [*windows, _window(pending, iter(()), clock())]
        flat = torch.cat([v.detach().to(on_device[0].device).reshape(-1).float() for v in on_device])
        host = (torch.empty(flat.shape, pin_memory=True).copy_(flat, non_blocking=True) if flat.is_cuda
                else flat.cpu())
        self._copying.append(_Copying(pending, host, devices.event(flat.device), clock()))
        return windows + self._arrived(wait)

    def _arrived(self, wait: bool) -> list[Window]:
        windows = []
        while self._copying:
            first = self._copying[0]
            if first.ready is not None and not first.ready.query():
                if not wait:
                    break
                first.ready.synchronize()
            self._copying.popleft()
            windows.append(_window(first.pending, iter(first.host.tolist()), first.asked))
        return windows


def _window(pending: _Pending, fetched: Any, asked: float) -> Window:
    """Build a window, replacing tensors by the fetched numbers in the same order."""
    def number(value: Any) -> float:
        return next(fetched) if isinstance(value, Tensor) else value

    values = [number(v) for v in pending.values]
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in pending.curves:
        curves.setdefault(name, []).append((step, number(value)))
    groups = {step: np.array([next(fetched) for _ in range(v.numel())], dtype=np.float32) if isinstance(v, Tensor)
              else v for step, v in pending.groups.items()}
    rows = np.array(values, dtype=np.float32).reshape(-1, COLUMNS)
    return Window(pending.first, rows, pending.clips, pending.measured, groups, curves, asked)
