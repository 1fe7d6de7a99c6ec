"""What a run trains on: versions, device, processor. Reported when a run starts, compared when it is resumed."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch

from tuitrain import __version__
from tuitrain.engine import devices

DECISIVE = {"cpu": ("torch", "cpu", "capability"), "cuda": ("torch", "gpu", "cuda", "cudnn")}
"""The versions that decide whether numbers repeat bit for bit, by kind of device."""


class Chosen(Protocol):
    """The settings of a run that choose where and how it computes."""

    @property
    def device(self) -> str: ...

    @property
    def threads(self) -> int | str: ...

    @property
    def precision(self) -> str: ...


def of(chosen: Chosen) -> dict[str, Any]:
    """Return the fields of RunStarted and RunResumed that describe the machine."""
    return {"versions": versions(chosen.device), "device": _device_name(chosen.device), "threads": int(chosen.threads),
            "precision": chosen.precision}


def versions(device: str) -> dict[str, str]:
    """Return the versions of the software and the names of the processors."""
    found = {"tuitrain": __version__, "torch": torch.__version__, "numpy": numpy.__version__,
             "python": platform.python_version(), "cpu": _cpu(),
             "capability": torch.backends.cpu.get_cpu_capability()}
    if devices.kind(device) == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        found |= {"gpu": f"{torch.cuda.get_device_name(device)} ({major}.{minor})", "cuda": str(torch.version.cuda),
                  "cudnn": str(torch.backends.cudnn.version())}
    return found


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return, in words, why numbers may not repeat bit for bit between two results of `of`; empty if they do."""
    was, is_ = str(then.get("device", "")).partition(" (")[0], str(now["device"]).partition(" (")[0]
    if was and devices.kind(was) != devices.kind(is_):
        return [f"was on {was}, continues on {is_}"]
    kind = devices.kind(is_)
    before, after = then.get("versions", {}), now["versions"]
    differs = [f"{name} was {before[name]}, is {after[name]}" if name in before else f"its {name} was not recorded"
               for name in DECISIVE[kind] if before.get(name) != after[name]]
    if then.get("precision", now["precision"]) != now["precision"]:
        differs.append(f"precision was {then['precision']}, is {now['precision']}")
    processes = then.get("processes", 1), now.get("processes", 1)
    if processes[0] != processes[1]:
        differs.append(f"processes were {processes[0]}, are {processes[1]}")
    if kind == "cpu" and then.get("threads", now["threads"]) != now["threads"]:
        differs.append(f"threads were {then['threads']}, are {now['threads']}")
    return differs


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
