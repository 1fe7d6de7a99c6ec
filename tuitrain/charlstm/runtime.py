"""Configures torch in this process: allocator, threads, autocast. The choice for a run is made in start/.

Does not import torch at the top, because the allocator has to be set before torch is loaded.
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
"""Rounds that a compute thread spins while it waits for work: longer than the pauses within a step."""
T = TypeVar("T")
Report = Callable[[str], None]
"""Takes a line about what is being done, for a person who waits."""


def before_torch() -> None:
    """Keep freed memory in the process; call before torch is imported.

    glibc returns large blocks to the system on each free, so every step page-faults its activations again: 17 to 27 %
    of a step. Only glibc has these thresholds, and they apply to the main arena alone, so there is only one arena,
    which the training thread uses, too. numpy's matrix products stay on one thread: the sampler's are too small to
    share, and its threads would compete with torch's.

    torch's own threads spin for some milliseconds after each piece of work and keep others from a core that does
    nothing: with a thread per core, saving, printing and serving were slowed down and slowed training down. So torch's
    threads are made to sleep sooner.
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
    """Run `work` in a temporary thread; return its result or raise its exception.

    Each thread that calls torch keeps a pool of OpenMP threads for as long as it lives. With more pool threads than
    cores libgomp stops spinning between parallel regions, and a step of a small LSTM, which has thousands of them,
    takes two to four times as long. So only the training thread may keep a pool, and runs are built in this one.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="preparing", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def apply(threads: int) -> None:
    """Set the number of torch's compute threads; call it in the training thread, too."""
    import torch

    torch.set_num_threads(threads)


def threads_in_use() -> int:
    """Return the number of torch's compute threads in this thread."""
    import torch

    return int(torch.get_num_threads())


def autocast(device: str, precision: str) -> "torch.autocast":
    """Return the context for a forward pass, which enables bf16 on a CPU.

    On a GPU autocast would run cuDNN's LSTM in fp16 whatever the type asked for, so precision.py casts instead.
    """
    import torch

    enabled = device == "cpu" and precision == "bf16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)
