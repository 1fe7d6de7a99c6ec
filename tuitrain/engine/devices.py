"""Finds the device to train on, tries it with a first kernel and makes it current. Knows no model and no run."""

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from tuitrain.errors import UsageError

if TYPE_CHECKING:
    import torch

Remark = Callable[[str], None]
"""Receives a sentence for a person to read when the run starts."""


def pick(asked: str, remark: Remark) -> str:
    """Return the device of `--device` (`cpu`, `cuda` or `cuda:1`) after running a first kernel on it.

    `auto` takes the first GPU, or the CPU with a remark if that GPU cannot be used. Raises UsageError if a GPU was
    named and is missing or unusable.
    """
    if asked == "cpu":
        return "cpu"
    device = "cuda" if asked == "auto" else asked
    why, remarkable = _trouble(device)
    if not why:
        make_current(device)
        return device
    if asked != "auto":
        raise UsageError(f"--device {asked}: {why}; use --device cpu, or {_remedy()}")
    if remarkable:
        remark(f"training on the CPU: {why}")
    return "cpu"


def again(device: str, remark: Remark) -> str:
    """Return the device to resume a run of `device` on: the same, else the first GPU, else the CPU.

    A change of device is remarked on.
    """
    for name in dict.fromkeys((device, "cuda")) if kind(device) == "cuda" else ("cpu",):
        try:
            return pick(name, remark)
        except UsageError as error:
            remark(f"{name} is replaced by another device: {str(error).partition(': ')[2].partition(';')[0]}")
    return "cpu"


def make_current(device: str) -> None:
    """Make this the default CUDA device of the calling thread; a new thread's default is the first GPU."""
    if kind(device) == "cuda":
        import torch

        torch.cuda.set_device(_number(device))


def events(device: "torch.device") -> "Callable[[], torch.cuda.Event] | None":
    """Return a factory of events on a GPU; None for a device whose calls are synchronous."""
    import torch

    # Blocking: the host sleeps while it waits instead of keeping busy a core that samples and the screen need.
    return (lambda: torch.cuda.Event(blocking=True)) if device.type == "cuda" else None


def event(device: "torch.device") -> "torch.cuda.Event | None":
    """Record an event that completes with all work queued on a GPU so far; None for a CPU."""
    import torch

    make = events(device)
    if make is None:
        return None
    event = make()
    event.record(torch.cuda.current_stream(device))
    return event


def kind(device: str) -> str:
    """Return `cpu` or `cuda`: the device without its number."""
    return device.partition(":")[0]


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _trouble(device: str) -> tuple[str, bool]:
    """Return why this GPU cannot be used (empty if it can), and whether that deserves a remark under `auto`."""
    import torch

    with warnings.catch_warnings(record=True) as warned:  # an outdated driver shows as a warning and no GPU
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        build = "a build for CUDA that sees no GPU" if torch.version.cuda else "a CPU build"
        why = f" ({_first_line(warned[0].message)})" if warned else ""
        return f"torch {torch.__version__} is {build}{why}", bool(warned)
    if _number(device) >= count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        among = f" with CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
        return f"there is only {', '.join(f'cuda:{i}' for i in range(count))}{among}", True
    # Without it cuBLAS, and so cuDNN's LSTM, may sum in a different order each time. Read at the first product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    try:
        first_kernel(device)
    except RuntimeError as error:  # in exclusive use, full, or of an architecture that this build has no kernels for
        return f"{device} cannot be used ({_first_line(error)})", True
    return "", False


def first_kernel(device: str) -> None:
    """Allocate and compute on a device. Raises RuntimeError if that fails."""
    import torch

    ones = torch.ones(8, 8, device=device)
    float(ones.mm(ones).sum())


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _remedy() -> str:
    import torch

    cuda = torch.version.cuda is not None
    return "see with nvidia-smi what the GPU is doing" if cuda else "install a CUDA build (README, GPU)"
