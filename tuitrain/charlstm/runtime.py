"""Allocator, threads, precision: chosen once, before torch does any work.

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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tuitrain.charlstm.config import Config
from tuitrain.engine.promise import UNDISTURBED
from tuitrain.errors import UsageError

if TYPE_CHECKING:
    import torch

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX = -3, -1, -8
SPINS = 10_000
"""Rounds that a compute thread spins for its next piece of work: longer than the pauses inside a step."""
T = TypeVar("T")
Report = Callable[[str], None]
"""Takes a word on what is being done, for a person who waits."""
BF16_GAIN = 1.2
"""bf16 is taken only where it is at least this much faster."""
CLEARLY = 1.1
"""A thread per core is the plain way; another number is taken only where it is at least this much faster, and in most
rounds."""
ROUNDS, LONGEST_RACE = 7, 3.0
"""Timed steps of each candidate at the most, and seconds that a race takes, about."""
FORGOTTEN_AFTER = 7 * 86400.0
"""Seconds: a machine changes, and a choice made in a bad hour must not stay for good."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the race chose: compute threads, `fp32` or `bf16`, and the seconds a bare step took with them."""

    threads: int
    precision: str
    step_seconds: float
    compared: str = ""
    """What was timed, in words."""
    key: str = ""
    """By which it is remembered; empty if it is not."""


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


def pick_precision(asked: str, device: str) -> str:
    """The format that a device is to take; `auto` on a CPU, where the race decides. Raises UsageError."""
    if device == "cpu" and asked in ("tf32", "fp16"):
        raise UsageError(f"--precision {asked} is a format of NVIDIA GPUs; on a CPU take auto, fp32 or bf16")
    if device == "cpu" or asked in ("fp32", "bf16", "fp16"):
        return asked
    if _gpu_has_tf32():
        return "tf32"
    if asked == "tf32":
        raise UsageError("--precision tf32: NVIDIA GPUs before Ampere have no TF32; take auto, fp32 or fp16")
    return "fp32"


def precision_on(device: str, precision: str) -> str:
    """The format in which a run of `precision` goes on on a device, which may be another one than it began on."""
    if device == "cpu":
        return "bf16" if precision == "bf16" and cpu_has_bf16() else "fp32"
    return "fp32" if precision == "tf32" and not _gpu_has_tf32() else precision


def _gpu_has_tf32() -> bool:
    import torch

    return torch.cuda.get_device_capability()[0] >= 8


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


def choose(config: Config, device: str, characters: int, report: Report) -> Choice:
    """Threads and precision for this machine and shape, by a race of a few timed steps, remembered for some days.

    A race on a busy machine is neither trusted nor remembered: then it is a thread per core. Consumes neither data nor
    a seed: the scratch model has its own, and the run seeds torch afterwards.
    """
    key = _key(config, device, characters)
    known = _remembered().get(key)
    if known is not None:
        report(f"timed before: {known[1].compared}")
        return known[1]
    choice, trusted = _race(config, device, characters, report)
    if trusted:
        choice = replace(choice, key=key)
        _keep({**_remembered(), key: (time.time(), choice)})
    return choice


def forget(key: str) -> None:
    """Remember a choice no longer: it did not keep what it promised."""
    _keep({name: entry for name, entry in _remembered().items() if name != key})


def apply(threads: int) -> None:
    """Set torch's compute threads; call it in the thread that trains, too."""
    import torch

    torch.set_num_threads(threads)


def threads_in_use() -> int:
    """torch's compute threads of this thread."""
    import torch

    return int(torch.get_num_threads())


def _race(config: Config, device: str, characters: int, report: Report) -> tuple[Choice, bool]:
    """The choice, and whether the machine was quiet enough to trust it.

    The candidates take turns, so that what disturbs the machine for a moment disturbs all of them.
    """
    asked = config.threads
    counts = [int(asked)] if asked != "auto" else sorted({cores(), max(1, cores() // 2), 1}, reverse=True)
    if device == "cuda":
        return _rehearsed(config, characters, counts[0], report), True
    asked_counts = tuple(counts)
    report("timing steps")
    runner = _Runner(config, device, characters)
    times: dict[int, list[float]] = {count: [] for count in counts}
    used: dict[int, float] = {}
    began = time.perf_counter()
    deadline = began + LONGEST_RACE * 2 / 3  # the rest is for the other precision
    for turn in range(ROUNDS):
        for count in list(counts):
            if turn == 0 and count != counts[0] and not _in_time(deadline, max(map(max, filter(None, times.values())))):
                counts.remove(count)
                del times[count]
                continue
            seconds, share = runner.step(count, "fp32", warm=turn == 0)
            times[count].append(seconds)
            used[count] = max(used.get(count, 0.0), share)
            if turn == 0:
                report(f"timing steps: {_words(count, seconds)}")
        if time.perf_counter() + sum(min(taken) for taken in times.values()) > deadline:
            break
    trusted = all(share >= UNDISTURBED for share in used.values())
    threads = fastest(times) if trusted else counts[0]
    precision, seconds = "fp32", min(times[threads])
    compared = ", ".join(_words(count, min(times[count])) for count in counts)
    if len(counts) < len(asked_counts):
        compared += ", too slow to time more"
    half_possible = config.precision == "auto" and cpu_has_bf16()
    if config.precision == "bf16" or (half_possible and _in_time(began + LONGEST_RACE, seconds)):
        half = runner.step(threads, "bf16", warm=True)[0]
        for _ in range(len(times[threads]) - 1):
            if time.perf_counter() + half <= began + LONGEST_RACE:
                half = min(half, runner.step(threads, "bf16", warm=False)[0])
        compared += f"; bf16 {half:.2g} s"
        if config.precision == "bf16" or seconds / half >= BF16_GAIN:
            precision, seconds = "bf16", half
    if not trusted:
        compared += " on a busy machine, so a thread per core and timed again at the next start"
    report(f"timed: {compared}")
    apply(threads)
    return Choice(threads, precision, seconds, compared), trusted


def _in_time(deadline: float, step: float) -> bool:
    """Whether two more steps that take about as long are over by then: the first one of a kind is for warming up."""
    return time.perf_counter() + 2 * step <= deadline


def _rehearsed(config: Config, characters: int, threads: int, report: Report) -> Choice:
    """On a GPU there is nothing to choose, but intervals in seconds need to know how long a step will take."""
    from tuitrain.charlstm import rehearsal

    seconds, how = rehearsal.seconds(config, characters)
    compared = f"{how} steps of {seconds:.2g} s"
    report(f"timed: {compared}")
    apply(threads)
    return Choice(threads, config.precision, seconds, compared)


def _words(count: int, seconds: float) -> str:
    return f"{count} thread{'s' * (count > 1)} {seconds:.2g} s"


def fastest(times: dict[int, list[float]]) -> int:
    """The number of threads to take, from the seconds of steps in turns: the first unless another wins clearly and in
    more than half of the turns."""
    first, *others = times
    best = first
    for count in others:
        pairs = list(zip(times[first], times[count], strict=False))
        wins = sum(theirs * CLEARLY <= ours for ours, theirs in pairs)
        if 2 * wins > len(pairs) and min(times[count]) * CLEARLY <= min(times[first]) \
                and min(times[count]) < min(times[best]):
            best = count
    return best


class _Runner:
    """Plain training steps of a scratch model: forward, backward, Adam."""

    def __init__(self, config: Config, device: str, characters: int) -> None:
        import torch

        from tuitrain.charlstm.model.network import CharLSTM

        self._config, self._device = config, device
        self._model = CharLSTM(characters, layers=config.layers, hidden=config.hidden, embedding=config.embedding,
                               dropout=config.dropout, init="uniform").to(device)  # the quickest to draw
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3, fused=True)
        generator = torch.Generator().manual_seed(0)
        self._ids = torch.randint(characters, (config.batch_size, config.bptt + 1), generator=generator).to(device)

    def step(self, threads: int, precision: str, *, warm: bool) -> tuple[float, float]:
        """Seconds of a step with so many threads, and the share of them that each thread computed. `warm`: take
        another one before, which also pays for set-up, unless a step is so slow that one must do."""
        apply(threads)
        if warm:
            began = time.perf_counter()
            self._learn(precision)
            if time.perf_counter() - began > LONGEST_RACE / 4:
                return time.perf_counter() - began, 1.0
        began, used = time.perf_counter(), time.process_time()
        self._learn(precision)
        seconds = time.perf_counter() - began
        return seconds, (time.process_time() - used) / (seconds * threads)

    def _learn(self, precision: str) -> None:
        import torch

        last = self._config.loss == "last"
        with autocast(self._device, precision):
            logits, _ = self._model(self._ids[:, :-1], last=last)
            targets = self._ids[:, -1:] if last else self._ids[:, 1:]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def autocast(device: str, precision: str) -> "torch.autocast":
    """The context in which a forward pass runs. On a CPU bf16 is autocast's.

    On a GPU autocast would run cuDNN's LSTM in fp16 whatever is asked for; precision.py casts instead.
    """
    import torch

    enabled = device == "cpu" and precision == "bf16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)


def _key(config: Config, device: str, characters: int) -> str:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    shape: list[Any] = [config.layers, config.hidden, config.embedding, config.batch_size, config.bptt,
                        config.loss, characters, config.threads, config.precision, config.dropout > 0]
    if device == "cuda":
        shape += [config.graph, config.optimizer, config.clip_kind]
    machine = [name, cores(), torch.__version__, platform.libc_ver()[0], os.environ.get("TUITRAIN_MALLOPT")]
    return hashlib.sha256(json.dumps([shape, machine]).encode()).hexdigest()[:16]


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / "races.json"


def _remembered() -> dict[str, tuple[float, Choice]]:
    """The choices of the last days with their Unix times; what another version wrote or somebody damaged is passed
    over."""
    try:
        known = json.loads(_cache().read_text())
        return {key: (float(entry["time"]), Choice(**entry["choice"])) for key, entry in known.items()
                if 0 <= time.time() - entry["time"] < FORGOTTEN_AFTER}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(known: dict[str, tuple[float, Choice]]) -> None:
    path = _cache()
    entries = {name: {"time": when, "choice": asdict(chosen)} for name, (when, chosen) in known.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(entries))
        part.replace(path)
    except OSError:
        return  # without a cache the next run races again
