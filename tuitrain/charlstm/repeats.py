"""What the selftest has shown of this machine's GPUs: with which cells and optimizers they repeat a run bit for bit.

Kept in the person's cache, under the versions that decide: another driver's libraries, another card or another torch
has been shown nothing yet.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tuitrain.charlstm import cache, runtime
from tuitrain.charlstm.config import Config
from tuitrain.engine import devices, environment

FILE = "repeats.json"


def remember(device: str, shown: Iterable[tuple[str, str]]) -> None:
    """Keep with which cells and optimizers rollback and resume were exact.

    Where there is no cache, nothing is promised.
    """
    cache.write(FILE, {**_known(), _key(device): sorted(map(" ".join, shown))})


def shown(device: str, cell: str, optimizer: str) -> bool:
    """Whether a run with this cell and this optimizer repeats bit for bit here, as far as anybody has tried."""
    return f"{cell} {optimizer}" in _known().get(_key(device), [])


def why_not_exact(before: Mapping[str, Any], config: Config) -> str:
    """What differs from where a checkpoint was written (`before`, as `environment.of` has it), in words; empty if
    nothing that matters does."""
    now = environment.of(config) | {"threads": runtime.threads_in_use()}
    differs = environment.differences(before, now)
    if not differs and devices.kind(config.device) == "cuda":
        if config.dropout:
            differs.append("dropout on CUDA keeps a state of its own")
        elif not shown(config.device, config.cell, config.optimizer):
            differs.append(f"no `tuitrain selftest --device {config.device}` has shown yet that this GPU repeats "
                           f"{config.cell} with {config.optimizer} bit for bit")
    return "; ".join(differs)


def _key(device: str) -> str:
    there = environment.versions(device)
    return ", ".join(there[name] for name in environment.DECISIVE[devices.kind(device)])


def _known() -> dict[str, list[str]]:
    """What is kept; what another version wrote is passed over."""
    return {str(key): list(map(str, names)) for key, names in cache.read(FILE).items() if isinstance(names, list)}
