"""How much of the machine the run uses: memory as psutil sees it, a GPU as NVIDIA's own library does."""

import time
from collections.abc import Callable, Iterator

import psutil
import torch

from tuitrain.protocol.events import Event, MachineUsed

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
        memory, total = torch.cuda.memory_reserved(self._device), torch.cuda.mem_get_info(self._device)[1]
        try:
            return (float(torch.cuda.utilization(self._device)), float(torch.cuda.temperature(self._device)), memory,
                    total)
        except Exception:  # no driver library, no permission, an unknown device: each has an exception of its own
            return None, None, memory, total
