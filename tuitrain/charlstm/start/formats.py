"""Chooses the number format of a run, and a substitute on a device that lacks it."""

from pathlib import Path

from tuitrain.errors import UsageError


def pick(asked: str, device: str) -> str:
    """Return the number format to use on a device; `auto` on a CPU, where the race decides. Raises UsageError."""
    if device == "cpu" and asked in ("tf32", "fp16"):
        raise UsageError(f"--precision {asked} is a format of NVIDIA GPUs; on a CPU take auto, fp32 or bf16")
    if device == "cpu" or asked in ("fp32", "bf16", "fp16"):
        return asked
    if _gpu_has_tf32():
        return "tf32"
    if asked == "tf32":
        raise UsageError("--precision tf32: NVIDIA GPUs before Ampere have no TF32; take auto, fp32 or fp16")
    return "fp32"


def available(device: str, precision: str, cell: str) -> str:
    """Return the format in which a run of `precision` continues on a device, perhaps not the one it started on."""
    if device == "cpu":
        return "bf16" if precision == "bf16" and cell == "lstm" and cpu_has_bf16() else "fp32"
    return "fp32" if precision == "tf32" and not _gpu_has_tf32() else precision


def _gpu_has_tf32() -> bool:
    import torch

    return torch.cuda.get_device_capability()[0] >= 8


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 in hardware; elsewhere it is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
