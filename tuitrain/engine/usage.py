"""Measures how much of the machine the run uses: memory by psutil, the GPU by NVIDIA's library."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch

from tuitrain.protocol.events import Event, MachineUsed

T = TypeVar("T")
PERIOD = 2.0
"""Seconds between measurements."""


class Usage:
    """Measures every few seconds; a measurement takes some microseconds, with a GPU a millisecond."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._device, self._clock = device, clock
        self._process = psutil.Process()
        self._asks_gpu = device.type == "cuda"
        self._next = 0.0

    def attend(self) -> Iterator[Event]:
        """Yield a MachineUsed if one is due."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + PERIOD
        load, temperature, memory, total = self._gpu()
        yield MachineUsed(memory=self._process.memory_info().rss, memory_total=psutil.virtual_memory().total,
                          gpu_load=load, gpu_temperature=temperature, gpu_memory=memory, gpu_memory_total=total)

    def _gpu(self) -> tuple[float | None, float | None, int | None, int | None]:
        """Return load in %, degrees Celsius, bytes reserved by this process and bytes in all; None where unknown."""
        if not self._asks_gpu:
            return None, None, None, None
        load = self._read(lambda device: float(torch.cuda.utilization(device)))
        temperature = self._read(lambda device: float(torch.cuda.temperature(device)))
        total = self._read(lambda device: torch.cuda.mem_get_info(device)[1])
        return load, temperature, self._read(torch.cuda.memory_reserved), total

    def _read(self, ask: Callable[[torch.device], T]) -> T | None:
        """Return one reading, None if unavailable: a part of a GPU (MIG) has no load, and a card may lack a sensor."""
        try:
            return ask(self._device)
        except Exception:  # no driver library, no permission, an unknown device: each raises its own exception
            return None
