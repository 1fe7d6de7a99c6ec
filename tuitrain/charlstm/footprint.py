"""Estimates the memory a run needs from its configuration, before anything is allocated."""

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.cells import CELLS
from tuitrain.errors import UsageError
from tuitrain.telemetry.units import size

COPIES = 6
"""Copies of the parameters in memory: themselves, gradients, two moments, and at least one snapshot of weights and
moments (3, less what they share) during a step."""
THREADS = 200_000_000
"""Bytes of address space that thread stacks and library workspaces take after the check: 155 to 175 MB measured for a
model of 20,000 parameters on one and two threads."""


def parameters(config: Config, characters: int) -> int:
    """Return the number of parameters of a CharRNN for a vocabulary of this many characters."""
    hidden = config.hidden
    inputs = characters if config.embedding == "onehot" else int(config.embedding)
    table = 0 if config.embedding == "onehot" else characters * inputs
    gates = len(CELLS[config.cell].spec.gates)
    layers = sum(gates * hidden * ((hidden if layer else inputs) + hidden + 2) for layer in range(config.layers))
    return table + layers + characters * (hidden + 1)


def largest_checkpoint(config: Config, characters: int) -> int:
    """Return an upper bound in bytes for a checkpoint of this run.

    It holds at most three copies of the parameters, the hidden state, and a part that does not grow with the model.
    """
    carried = len(CELLS[config.cell].states) * 4 * config.layers * config.batch_size * config.hidden
    return 2 * (4 * 4 * parameters(config, characters) + carried) + (64 << 20)


def needed(config: Config, characters: int) -> int:
    """Return the least bytes that training takes: copies of the parameters, and the activations of one step."""
    positions = config.batch_size * config.bptt
    outputs = characters * (positions if config.loss == "all" else config.batch_size)
    kept = len(CELLS[config.cell].spec.gates) + 2
    activations = positions * config.layers * config.hidden * kept + 3 * outputs
    return 4 * (COPIES * parameters(config, characters) + activations)


def check(config: Config, characters: int, device: str) -> None:
    """Raise UsageError with the numbers if the run does not fit into the free memory."""
    need = needed(config, characters)
    for free, whose, remedy in limits(device):
        if need > free:
            raise UsageError(
                f"--layers {config.layers} --hidden {config.hidden} on {characters:,} characters: "
                f"{parameters(config, characters):,} parameters, training takes about {size(need)} and "
                f"{size(max(0, free))} of {whose} are free; {remedy}take fewer --layers, a smaller --hidden or "
                "a smaller --batch-size")


def snapshot_budget(config: Config, characters: int) -> int:
    """Return the bytes that restore points may take: as configured, else a twentieth of the host's memory.

    By default never more than half of the memory that is free and not needed for training; on a GPU, where restore
    points lie beside the model, a quarter of it.
    """
    if config.snapshot_memory:
        return config.snapshot_memory << 20
    left = max(0, available(config.device) - needed(config, characters))
    return min(int(psutil.virtual_memory().total // 20), left // 2) if config.device == "cpu" else left // 4


def available(device: str) -> int:
    """Return the bytes of memory that are free for a run on a device."""
    return min(free for free, _, _ in limits(device))


def limits(device: str) -> Iterator[tuple[int, str, str]]:
    """Yield each limit on the memory of a run: free bytes, the name of the limit, and a remedy that applies to it."""
    if device != "cpu":
        import torch

        yield int(torch.cuda.mem_get_info(device)[0]), "the GPU", ""
        return  # CUDA reserves hundreds of gigabytes of addresses, so that limit means nothing here
    yield int(psutil.virtual_memory().available), "the machine", ""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        taken = psutil.Process().memory_info().vms + THREADS
        yield limit - taken, f"the {limit / 1e6:,.0f} MB of addresses that `ulimit -v` allows", "raise that limit, "
    group = cgroup_free()
    if group is not None:
        yield group, "the container's or the job's memory", "give it more, "


def cgroup_free(root: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the bytes that the control groups (version 2) of this process leave free; None without a limit."""
    found: list[int] = []
    try:
        place = next(line[3:] for line in mine.read_text().splitlines() if line.startswith("0::")).strip("/")
    except (OSError, StopIteration):
        return None
    for group in (root / place, *(root / place).parents):
        if not group.is_relative_to(root):
            break
        try:
            most = (group / "memory.max").read_text().strip()
            if most != "max":
                used = int((group / "memory.current").read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                # A file cache counts as used, but is reclaimed when memory is needed.
                found.append(int(most) - used + int(stat.get("inactive_file", 0)))
        except (OSError, ValueError):
            continue
    return min(found, default=None)
