"""Allocator, threads, precision, device: chosen once, before torch does any work.

This module imports no torch at its top, because the allocator has to be set before torch is loaded.
"""

import ctypes
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tuitrain.config import Config
from tuitrain.errors import UsageError

if TYPE_CHECKING:
    import torch

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8
T = TypeVar("T")
BF16_GAIN = 1.2
"""bf16 is taken only where it is at least this much faster."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the race chose: compute threads, `fp32` or `bf16`, and the seconds a bare step took with them."""

    threads: int
    precision: str
    step_seconds: float


def before_torch() -> None:
    """Keep freed memory in the process; call before torch is imported.

    glibc gives large blocks back on each free, so that every step page-faults its activations again: 17 to 27 % of
    a step. Only glibc has these thresholds, and they rule the main arena alone, so there is but one arena: the
    training thread allocates from it like everybody. numpy's matrix products stay on one thread: the sampler's are too
    small to share, and its threads would stand in the way of torch's.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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


def pick_device(asked: str) -> str:
    """`cpu` or `cuda`. Raises UsageError if cuda is asked for and torch sees none."""
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        build = "a build for CUDA that sees no GPU" if torch.version.cuda else "a CPU build"
        raise UsageError(f"--device cuda: torch {torch.__version__} is {build}; use --device cpu, "
                         "or install a CUDA build (README, GPU)")
    return "cuda" if asked != "cpu" and there else "cpu"


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; elsewhere it is emulated and slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(config: Config, device: str, characters: int) -> Choice:
    """Threads and precision for this machine and shape, by a race of a few timed steps, remembered in a cache.

    Consumes neither data nor a seed: the scratch model has its own, and the run seeds torch afterwards.
    """
    key = _key(config, device, characters)
    known = _remembered().get(key)
    if known is not None:
        return Choice(**known)
    choice = _race(config, device, characters)
    _remember(key, choice)
    return choice


def apply(threads: int) -> None:
    """Set torch's compute threads; call it in the thread that trains, too."""
    import torch

    torch.set_num_threads(threads)


def threads_in_use() -> int:
    """torch's compute threads of this thread."""
    import torch

    return int(torch.get_num_threads())


def _race(config: Config, device: str, characters: int) -> Choice:
    import torch

    asked = config.threads
    counts = [int(asked)] if asked != "auto" else sorted({cores(), max(1, cores() // 2), 1}, reverse=True)
    if device == "cuda":
        counts = counts[:1]
    times = {}
    for count in counts:
        torch.set_num_threads(count)
        times[count] = _step_seconds(config, device, characters, "fp32")
    # The plain way is a thread per core; another count must be clearly faster to be taken.
    threads = min(counts, key=lambda n: times[n] * (1.0 if n == counts[0] else 1.03))
    torch.set_num_threads(threads)
    precision, seconds = "fp32", times[threads]
    if config.precision == "bf16" or (config.precision == "auto" and (device == "cuda" or cpu_has_bf16())):
        half = _step_seconds(config, device, characters, "bf16")
        if config.precision == "bf16" or seconds / half >= BF16_GAIN:
            precision, seconds = "bf16", half
    return Choice(threads, precision, seconds)


def _step_seconds(config: Config, device: str, characters: int, precision: str) -> float:
    """The fastest of a few plain training steps: forward, backward, Adam."""
    import torch

    from tuitrain.engine.model import CharLSTM

    model = CharLSTM(characters, layers=config.layers, hidden=config.hidden, embedding=config.embedding,
                     dropout=config.dropout).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(characters, (config.batch_size, config.bptt + 1), generator=generator).to(device)
    best, started, count = float("inf"), time.perf_counter(), 0
    while count < 3 or (count < 12 and time.perf_counter() - started < 0.5):
        begin = time.perf_counter()
        with autocast(device, precision):
            logits, _ = model(ids[:, :-1], last=config.loss == "last")
            targets = ids[:, -1:] if config.loss == "last" else ids[:, 1:]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        if count:  # the first one also pays for set-up
            best = min(best, time.perf_counter() - begin)
        count += 1
    return best


def autocast(device: str, precision: str) -> "torch.autocast":
    """The context in which the forward pass runs."""
    import torch

    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def _key(config: Config, device: str, characters: int) -> str:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    shape: list[Any] = [config.layers, config.hidden, config.embedding, config.batch_size, config.bptt,
                        config.loss, characters, config.threads, config.precision, config.dropout > 0]
    machine = [name, cores(), torch.__version__, platform.libc_ver()[0], os.environ.get("TUITRAIN_MALLOPT")]
    return hashlib.sha256(json.dumps([shape, machine]).encode()).hexdigest()[:16]


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / "races.json"


def _remembered() -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(_cache().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(key: str, choice: Choice) -> None:
    known = _remembered()
    known[key] = asdict(choice)
    path = _cache()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(known))
        part.replace(path)
    except OSError:
        return  # without a cache the next run races again
