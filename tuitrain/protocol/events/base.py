"""The base of all events, the reasons and types that several share, and what may be asked of any event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Floats = tuple[float, ...]
Flags = tuple[int, ...]
Json = Mapping[str, Any]
INTERVAL, EPOCH, BEST, END = "interval", "epoch", "best", "end"
"""Reasons of evaluations, restore points and checkpoints that come by themselves."""
CRASHED = "crashed"
"""The reason of an end that nobody wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""


def id_of(event: Event) -> str:
    """The id of the command that an event answers; empty if it answers none."""
    return str(getattr(event, "id", ""))


def by_of(event: Event) -> str:
    """Who asked for what an event reports; empty if nobody did."""
    return str(getattr(event, "by", ""))


def branch_of(event: Event, otherwise: int) -> int:
    """The branch of an event; `otherwise` for one that belongs to none."""
    return int(getattr(event, "branch", otherwise))


def step_of(event: Event, otherwise: int) -> int:
    """The step of an event: where a rollback led to; `otherwise` for one that belongs to no step."""
    return int(getattr(event, "to_step", getattr(event, "step", otherwise)))
