"""Restore points: snapshots in memory, checkpoints on disk."""

from dataclasses import dataclass

from tuitrain.protocol.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken(Event):
    """A snapshot was taken in memory; `healthy` if training had not broken by then."""

    branch: int
    step: int
    id: str
    by: str
    reason: str
    pinned: bool
    bytes: int
    point: str
    healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDropped(Event):
    """A snapshot in memory was dropped."""

    branch: int
    step: int
    point: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint was committed on disk, checksummed; `healthy` if training had not broken by then."""

    branch: int
    step: int
    id: str
    by: str
    reason: str
    path: str
    bytes: int
    seconds: float
    params_sha256: str
    healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPruned(Event):
    """A checkpoint was removed by the retention rules."""

    branch: int
    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingFailed(Event):
    """A checkpoint could not be written; training continues and saving is retried."""

    branch: int
    step: int
    path: str
    reason: str
    bytes_needed: int
    bytes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingRecovered(Event):
    """Saving works again after `failures` failed attempts."""

    branch: int
    step: int
    failures: int
