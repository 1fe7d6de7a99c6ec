"""A small loop as a person writes one, with and without somebody watching it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tuitrain
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory


class Loop:
    """An MLP on made-up data; `pilot` is None until `watch`."""

    def __init__(self, seed: int = 0, *, clip: float | None = 0.5, lr: float = 1e-2) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1))
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.model.parameters(), lr)
        self.scheduler: Any = None
        self.clip = clip
        self.data = torch.Generator().manual_seed(seed + 1)
        self.pilot: Any = None
        self.losses: list[float] = []
        self.before: Callable[[int], None] = lambda step: None

    def watch(self, folder: Path, **how: Any) -> "Loop":
        self.pilot = tuitrain.watch(self.model, self.optimizer, run=folder, scheduler=self.scheduler, **how)
        return self

    def loss(self) -> Tensor:
        x = torch.randn(16, 4, generator=self.data)
        loss: Tensor = ((self.model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        return loss

    def step(self, **more: Any) -> bool:
        self.before(len(self.losses))
        loss = self.loss()
        loss.backward()
        if self.clip is not None:
            clip = self.pilot.clip_grad_norm_ if self.pilot is not None else nn.utils.clip_grad_norm_
            clip(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.scheduler is not None:
            self.scheduler.step()
        self.losses.append(loss.item())
        return self.pilot is None or self.pilot.step(loss, **more)

    def run(self, steps: int) -> "Loop":
        for _ in range(steps):
            if not self.step():
                break
        return self

    def ask(self, *commands: c.Command) -> None:
        for command in commands:
            self.pilot._loop.orders.inbox.put(command)

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def told(folder: Path) -> list[e.Event]:
    """What the journal says."""
    return [event for event, _ in journal.read(RunDirectory(folder).journal)]


def of_kind(events: Iterable[e.Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def at_steps(events: Iterable[e.Event], name: str) -> dict[int, Any]:
    """The values of a thinned column of StepsDone by step; a fast loop has them for some steps only."""
    return {done.first_step + (1 - done.first_step) % done.every + i * done.every: value
            for done in of_kind(events, e.StepsDone) for i, value in enumerate(getattr(done, name))}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def who(id: str = "x") -> dict[str, str]:
    return {"id": id, "by": "you"}
