"""Stores for which cells and optimizers the selftest has shown that this GPU repeats a run bit for bit.

Stored in the user's cache under the decisive versions: with other libraries of the driver, another card or another
torch, nothing has been shown yet.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tuitrain.charlstm import cache, runtime
from tuitrain.charlstm.config import Config
from tuitrain.engine import devices, environment

FILE = "repeats.json"


def remember(device: str, shown: Iterable[tuple[str, str]]) -> None:
    """Store the (cell, optimizer) pairs with which rollback and resume were exact. Does nothing without a cache."""
    cache.write(FILE, {**_known(), _key(device): sorted(map(" ".join, shown))})


def shown(device: str, cell: str, optimizer: str) -> bool:
    """Return whether a selftest has shown that a run with this cell and optimizer repeats bit for bit here."""
    return f"{cell} {optimizer}" in _known().get(_key(device), [])


def why_not_exact(before: Mapping[str, Any], config: Config, processes: int = 1) -> str:
    """Describe the differences from the environment a checkpoint was written in; empty if none matters.

    `before` is that environment as returned by `environment.of`.
    """
    now = environment.of(config) | {"threads": runtime.threads_in_use(), "processes": processes}
    differs = environment.differences(before, now)
    if not differs and devices.kind(config.device) == "cuda":
        if config.dropout:
            differs.append("dropout on CUDA keeps a state of its own")
        elif not shown(config.device, config.cell, config.optimizer):
            differs.append(f"`tuitrain selftest --device {config.device}` has not shown yet that this GPU repeats "
                           f"{config.cell} with {config.optimizer} bit for bit")
    return "; ".join(differs)


def _key(device: str) -> str:
    versions = environment.versions(device)
    return ", ".join(versions[name] for name in environment.DECISIVE[devices.kind(device)])


def _known() -> dict[str, list[str]]:
    """Return the stored pairs; entries of another format are skipped."""
    return {str(key): list(map(str, names)) for key, names in cache.read(FILE).items() if isinstance(names, list)}
