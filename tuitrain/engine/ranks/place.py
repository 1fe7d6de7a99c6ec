"""What torchrun, or a scheduler, tells each process of a run by several. Imports no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tuitrain.errors import UsageError

TIMEOUT = 120.0
"""Seconds after which a process that does not answer is given up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the `size` processes this is. Ranks are counted from 0, `local` on this machine."""

    rank: int
    size: int
    local: int
    local_size: int
    timeout: float = TIMEOUT
    start: int = 0
    """How often torchrun has started all processes again because one of them had failed."""
    restarts: bool = False
    """Whether torchrun starts all processes again when one ends with another code than 0."""


def place(variables: Mapping[str, str] = os.environ) -> Place | None:
    """Return this process' place, or None where it trains alone. Raises UsageError naming a bad variable."""
    if "RANK" not in variables or _number(variables, "WORLD_SIZE", 1) < 2:
        return None
    size = _number(variables, "WORLD_SIZE", 1)
    return Place(rank=_number(variables, "RANK", 0), size=size, local=_number(variables, "LOCAL_RANK", 0),
                 local_size=_number(variables, "LOCAL_WORLD_SIZE", size),
                 timeout=float(_number(variables, "TUITRAIN_RANK_TIMEOUT", int(TIMEOUT))),
                 start=_number(variables, "TORCHELASTIC_RESTART_COUNT", 0),
                 restarts=_number(variables, "TORCHELASTIC_MAX_RESTARTS", 0) > 0)


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    text = variables.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}={text}: not a whole number; start the processes with torchrun") from None
