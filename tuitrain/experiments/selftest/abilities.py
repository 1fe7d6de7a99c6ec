"""What a device can do: the readings it gives, its number formats, how it copies snapshots, how fast it is."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tuitrain.charlstm import footprint
from tuitrain.charlstm.machine import Machine
from tuitrain.engine.restore_points import RestorePoints
from tuitrain.engine.usage import Usage
from tuitrain.experiments.selftest.checks import Failed, NotApplicable
from tuitrain.experiments.selftest.small import FORMATS, Small, bits
from tuitrain.protocol.events import MachineUsed
from tuitrain.telemetry.units import number, size

TIMED = 0.05
"""Seconds of timing a model per step of a comparison."""


class Abilities:
    """Checks that return what they found in words, or raise Failed or NotApplicable."""

    def __init__(self, small: Small) -> None:
        self._small = small

    def readings(self) -> str:
        if self._small.cpu:
            raise NotApplicable("no GPU")
        [seen] = Usage(torch.device(self._small.device)).attend()
        assert isinstance(seen, MachineUsed)
        if seen.gpu_memory_total is None:
            raise Failed("not even the memory can be read")
        load = "no load" if seen.gpu_load is None else f"load {seen.gpu_load:.0f} %"
        warmth = "no temperature" if seen.gpu_temperature is None else f"{seen.gpu_temperature:.0f} °C"
        return f"{load}, {warmth}, {size(seen.gpu_memory_total)} of memory"

    def format(self, cell: str, precision: str) -> str:
        if precision in self._small.refused:
            raise NotApplicable(self._small.refused[precision])
        machine = self._small.machine(cell=cell, precision=precision, graph=False)
        seen: set[torch.dtype] = set()

        def look(module: nn.Module, given: object, out: Any) -> None:
            if isinstance(module, nn.RNNBase):
                seen.add(out[0].dtype)

        hook = nn.modules.module.register_module_forward_hook(look)
        try:
            machine.learn()
        finally:
            hook.remove()
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in seen)
        if precision == "bf16" and self._small.device == "cpu" and cell != "lstm" and seen == {torch.float32}:
            raise NotApplicable("autocast leaves it in fp32 on a CPU")
        if seen != {FORMATS[precision]}:
            raise Failed(f"it is {names or 'unknown'}")
        return names

    def fetch(self) -> str:
        machine = self._small.machine(hidden=128, embedding=128)
        self._small.learned(machine, 3)
        frozen = machine.freeze()
        began = time.perf_counter()
        fetched = frozen.arrays()
        seconds = time.perf_counter() - began
        if not all(bits(fetched[name], tensor.cpu().numpy()) for name, tensor in frozen.tensors.items()):
            raise Failed("the copy differs from the snapshot")
        return f"{size(frozen.bytes)} in {number(1000 * seconds)} ms, bit for bit"

    def store(self) -> str:
        machine = self._small.machine(hidden=128, embedding=128)
        self._small.learned(machine, 2)
        room, taken = 16, 24
        points = RestorePoints(room * machine.freeze().bytes)
        before = self._memory()
        for _ in range(taken):
            machine.learn()
            points.add(machine.freeze(), "selftest", pinned=False)
        used = self._memory() - before
        if len(points) != room or points.bytes > points.budget:
            raise Failed(f"{len(points)} snapshots are kept in room for {room}")
        if used > 1.5 * points.budget + (64 << 20):
            raise Failed(f"{size(points.budget)} of snapshots take {size(used)}")
        run = footprint.snapshot_budget(machine.config, len(self._small.text.vocabulary))
        return f"{room} of {taken} kept, {size(points.bytes)} in {size(max(0, used))}; a run may use {size(run)}"

    def speed(self, layers: int, hidden: int, batch: int, bptt: int) -> str:
        shape: dict[str, Any] = {"layers": layers, "hidden": hidden, "embedding": hidden, "batch_size": batch,
                                 "bptt": bptt}
        eager = self._small.machine(graph=False, **shape)
        rates = {"bare PyTorch": self._rate(_bare(eager)), "eager": self._rate(eager.learn)}
        if not self._small.cpu:
            captured = self._small.machine(**shape)
            if captured.learner.replay is not None:
                rates["captured"] = self._rate(captured.learn)
        return ", ".join(f"{name} {number(rate)}" for name, rate in rates.items())

    def _rate(self, step: Callable[[], None]) -> float:
        """Return steps per second, measured after some warm-up steps."""
        for _ in range(1 if self._small.cpu else 20):
            step()
        self._small.wait()
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < self._small.steps * TIMED:
            for _ in range(1 if self._small.cpu else 50):
                step()
                count += 1
            self._small.wait()
        return count / (time.perf_counter() - began)

    def _memory(self) -> int:
        """Return the bytes in use by this process, or on the GPU."""
        if self._small.cpu:
            return int(psutil.Process().memory_info().rss)
        torch.cuda.synchronize()
        return int(torch.cuda.memory_allocated(self._small.device))


def _bare(machine: Machine) -> Callable[[], None]:
    """Return a step of a plain PyTorch loop for a model of the same shape."""
    config = machine.config
    device, hidden = machine.device, config.hidden
    characters = len(machine.corpus.vocabulary)
    model = nn.ModuleDict({"in": nn.Embedding(characters, hidden), "out": nn.Linear(hidden, characters),
                           "lstm": nn.LSTM(hidden, hidden, config.layers, batch_first=True)}).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, fused=True)
    ids = torch.from_numpy(machine.corpus.ids.astype(np.int64)).to(device)
    length = config.batch_size * config.bptt
    state: list[tuple[Tensor, Tensor] | None] = [None]

    def step() -> None:
        inputs, targets = ids[:length].view(config.batch_size, -1), ids[1 : length + 1].view(config.batch_size, -1)
        out, after = model["lstm"](model["in"](inputs), state[0])
        loss = F.cross_entropy(model["out"](out).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state[0] = (after[0].detach(), after[1].detach())

    return step
