"""What all processes of a run must have alike, and how a snapshot travels from one to another."""

import json
from collections.abc import Iterable
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from tuitrain.engine.snapshot import Snapshot

BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers by their size in bytes."""


def checksum(weights: Iterable[Tensor]) -> Tensor:
    """Return the sum of the bits of all weights, int64 [1] in the host's memory."""
    sums = [w.detach().contiguous().view(BITS[w.element_size()]).sum(dtype=torch.int64) for w in weights]
    return torch.stack(sums).sum().cpu().view(1) if sums else torch.zeros(1, dtype=torch.int64)


def drifted(checksums: Iterable[Tensor]) -> list[int]:
    """Return the ranks whose checksum is not that of rank 0."""
    first, *others = (int(one) for one in checksums)
    return [rank for rank, other in enumerate(others, 1) if other != first]


def packed(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes for another process."""
    values = {"branch": snapshot.branch, "step": snapshot.step, "values": snapshot.values}
    return save({name: t.detach().cpu().clone().contiguous() for name, t in snapshot.tensors.items()},
                {"state": json.dumps(values)})


def unpacked(block: bytes) -> Snapshot:
    """Return the snapshot that `packed` made bytes of."""
    length = int.from_bytes(block[:8], "little")
    header: dict[str, Any] = json.loads(block[8 : 8 + length])
    values = json.loads(header["__metadata__"]["state"])
    return Snapshot(values["branch"], values["step"], load(block), values["values"])
