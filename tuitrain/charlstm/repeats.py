"""What the selftest has shown of this machine's GPUs: with which cells and optimizers they repeat a run bit for bit.

Kept in the person's cache, under the versions that decide: another driver's libraries, another card or another torch
has been shown nothing yet.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.engine import devices, environment


def remember(device: str, shown: Iterable[tuple[str, str]]) -> None:
    """Keep with which cells and optimizers rollback and resume were exact.

    Where there is no cache, nothing is promised.
    """
    known = {**_known(), _key(device): sorted(map(" ".join, shown))}
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(known))
        part.replace(path)
    except OSError:
        return


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


def _file() -> Path:
    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / "repeats.json"


def _known() -> dict[str, list[str]]:
    """What is kept; what another version wrote or somebody damaged is passed over."""
    try:
        kept = json.loads(_file().read_text())
        return {str(key): list(map(str, names)) for key, names in kept.items() if isinstance(names, list)}
    except (OSError, ValueError, AttributeError):
        return {}
