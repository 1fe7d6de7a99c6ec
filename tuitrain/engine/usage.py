"""How much of the machine the run uses: memory as psutil sees it, a GPU as NVIDIA's own library does."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch

from tuitrain.protocol.events import Event, MachineUsed

T = TypeVar("T")
PERIOD = 2.0
"""Seconds between looks."""


class Usage:
    """Looks every few seconds; a look takes some microseconds, on a GPU a millisecond."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._device, self._clock = device, clock
        self._process = psutil.Process()
        self._asks_gpu = device.type == "cuda"
        self._next = 0.0

    def attend(self) -> Iterator[Event]:
        """What is used, if it is time."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + PERIOD
        load, temperature, memory, total = self._gpu()
        yield MachineUsed(memory=self._process.memory_info().rss, memory_total=psutil.virtual_memory().total,
                          gpu_load=load, gpu_temperature=temperature, gpu_memory=memory, gpu_memory_total=total)

    def _gpu(self) -> tuple[float | None, float | None, int | None, int | None]:
        """Load in %, degrees Celsius, bytes this process has reserved, bytes there are; None where unknown."""
        if not self._asks_gpu:
            return None, None, None, None
        load = self._read(lambda device: float(torch.cuda.utilization(device)))
        temperature = self._read(lambda device: float(torch.cuda.temperature(device)))
        total = self._read(lambda device: torch.cuda.mem_get_info(device)[1])
        return load, temperature, self._read(torch.cuda.memory_reserved), total

    def _read(self, ask: Callable[[torch.device], T]) -> T | None:
        """One reading; None where there is none: a part of a GPU (MIG) has no load, and a card may have no sensor."""
        try:
            return ask(self._device)
        except Exception:  # no driver library, no permission, an unknown device: each has an exception of its own
            return None
