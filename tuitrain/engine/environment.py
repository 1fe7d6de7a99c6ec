"""What a run trains on: versions, device, processor. Told once when it begins, compared when it is resumed."""

import platform
from pathlib import Path
from typing import Any

import numpy
import torch

from tuitrain import __version__
from tuitrain.config import Config


def of(config: Config) -> dict[str, Any]:
    """The fields of RunStarted and RunResumed that name the machine."""
    return {"versions": versions(), "device": _device_name(config.device), "threads": int(config.threads),
            "precision": config.precision}


def versions() -> dict[str, str]:
    """What decides whether numbers repeat bit for bit."""
    return {"tuitrain": __version__, "torch": torch.__version__, "numpy": numpy.__version__,
            "python": platform.python_version(), "cpu": _cpu(),
            "capability": torch.backends.cpu.get_cpu_capability()}


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
