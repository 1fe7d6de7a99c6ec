"""The device that is trained on: found, tried with a first allocation, made current. Knows no model and no run."""

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from tuitrain.errors import UsageError

if TYPE_CHECKING:
    import torch

Remark = Callable[[str], None]
"""Takes a sentence that a person should read when the run begins."""


def pick(asked: str, remark: Remark) -> str:
    """`cpu`, `cuda` or `cuda:1`: the device of `--device`, on which a first kernel has run.

    `auto` takes the first GPU, and the CPU with a remark if that cannot be used. Raises UsageError where a GPU was
    asked for by name and is not there or refuses.
    """
    if asked == "cpu":
        return "cpu"
    device = "cuda" if asked == "auto" else asked
    why, telling = _trouble(device)
    if not why:
        make_current(device)
        return device
    if asked != "auto":
        raise UsageError(f"--device {asked}: {why}; use --device cpu, or {_remedy()}")
    if telling:
        remark(f"trains on the CPU: {why}")
    return "cpu"


def again(device: str, remark: Remark) -> str:
    """The device on which a run of `device` goes on: the same, else the first GPU, else the CPU; a change is
    remarked on."""
    for name in dict.fromkeys((device, "cuda")) if kind(device) == "cuda" else ("cpu",):
        try:
            return pick(name, remark)
        except UsageError as error:
            remark(f"another device takes the place of {name}: {str(error).partition(': ')[2].partition(';')[0]}")
    return "cpu"


def make_current(device: str) -> None:
    """Let this thread's CUDA calls that name no device mean this one; each thread begins with the first."""
    if kind(device) == "cuda":
        import torch

        torch.cuda.set_device(_number(device))


def event(device: "torch.device") -> "torch.cuda.Event | None":
    """An event that has passed when all that was asked of a GPU until now is done; None for a CPU."""
    import torch

    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def kind(device: str) -> str:
    """`cpu` or `cuda`: the device without its number."""
    return device.partition(":")[0]


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _trouble(device: str) -> tuple[str, bool]:
    """Why this GPU cannot be used, empty if it can; and whether somebody who named no device should hear of it."""
    import torch

    with warnings.catch_warnings(record=True) as warned:  # a driver that is too old is a warning, and no GPU
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
    # Without it cuBLAS, and cuDNN's LSTM with it, need not sum in the same order twice. Read at the first product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    try:
        first_kernel(device)
    except RuntimeError as error:  # in exclusive use, full, of an architecture that this build has no kernels for
        return f"{device} cannot be used ({_first_line(error)})", True
    return "", False


def first_kernel(device: str) -> None:
    """Allocate on a device and compute there. Raises RuntimeError if it will not."""
    import torch

    ones = torch.ones(8, 8, device=device)
    float(ones.mm(ones).sum())


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _remedy() -> str:
    import torch

    cuda = torch.version.cuda is not None
    return "see with nvidia-smi what the GPU is doing" if cuda else "install a CUDA build (README, GPU)"
