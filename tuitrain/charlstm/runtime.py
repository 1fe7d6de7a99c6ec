"""How torch runs in this process: allocator, threads, autocast. What is chosen for a run is in start/.

This module imports no torch at its top, because the allocator has to be set before torch is loaded.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8
SPINS = 10_000
"""Rounds that a compute thread spins for its next piece of work: longer than the pauses inside a step."""
T = TypeVar("T")
Report = Callable[[str], None]
"""Takes a word on what is being done, for a person who waits."""


def before_torch() -> None:
    """Keep freed memory in the process; call before torch is imported.

    glibc gives large blocks back on each free, so that every step page-faults its activations again: 17 to 27 % of
    a step. Only glibc has these thresholds, and they rule the main arena alone, so there is but one arena: the
    training thread allocates from it like everybody. numpy's matrix products stay on one thread: the sampler's are too
    small to share, and its threads would stand in the way of torch's.

    torch's own threads spin for some milliseconds after each piece of work, and whoever else wants to compute waits for
    a core that does nothing: with a thread per core what saves, prints and serves held up both. They sleep sooner.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    if platform.libc_ver()[0] != "glibc" or os.environ.get("TUITRAIN_MALLOPT") == "0":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    libc.mallopt(M_ARENA_MAX, 1)


def aside(work: Callable[[], T]) -> T:
    """Run `work` in a thread that ends with it; its result or its exception is the caller's.

    Each thread that lets torch compute keeps a pool of OpenMP threads for its life. With more pool threads than
    cores libgomp stops spinning between parallel regions, and a small LSTM's step, which is thousands of them, takes
    two to four times as long. So nobody but the training thread may keep a pool: building a run happens here.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def carry() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=carry, name="preparing", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def apply(threads: int) -> None:
    """Set torch's compute threads; call it in the thread that trains, too."""
    import torch

    torch.set_num_threads(threads)


def threads_in_use() -> int:
    """torch's compute threads of this thread."""
    import torch

    return int(torch.get_num_threads())


def autocast(device: str, precision: str) -> "torch.autocast":
    """The context in which a forward pass runs. On a CPU bf16 is autocast's.

    On a GPU autocast would run cuDNN's LSTM in fp16 whatever is asked for; precision.py casts instead.
    """
    import torch

    enabled = device == "cpu" and precision == "bf16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)
