"""The state of which each process of a watched loop has its own: random numbers, and objects such as a data loader."""

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from tuitrain.engine.ranks.group import Group
from tuitrain.watching import packing, rng
from tuitrain.watching.subject import RANDOM, Subject

DIGEST = 16
"""Bytes by which a process sees that its part is that of rank 0."""


def gather(subject: Subject, group: Group) -> list[dict[str, bytes]]:
    """Return by rank, for all but rank 0, what differs from rank 0's, each packed. All ranks call this.

    An average of the weights is the same everywhere and as large as the model; random numbers are a few kilobytes.
    """
    mine = {name: _packed(held) for name, held in _own(subject).items()}
    digests = group.gather(_bytes(b"".join(hashlib.blake2b(p, digest_size=DIGEST).digest() for p in mine.values())))
    first, here = digests[0].view(-1, DIGEST), digests[group.place.rank].view(-1, DIGEST)
    differ = {name: part for i, (name, part) in enumerate(mine.items()) if not torch.equal(first[i], here[i])}
    block = _packed(differ) if group.place.rank else b""
    lengths = [int(n) for n in group.gather(torch.tensor([len(block)]))]
    padded = torch.zeros(max(1, *lengths), dtype=torch.uint8)
    padded[: len(block)] = _bytes(block)
    blocks = group.gather(padded)
    return [_unpacked(bytes(block[:length].numpy())) for block, length in zip(blocks, lengths, strict=True) if length]


def chosen(rank: int, first: Mapping[str, Any], parts: Mapping[int, Mapping[str, bytes]] | None) -> dict[str, Any]:
    """Return what another rank than 0 restores: its own where it had something else than rank 0, else the same.

    If it had no part in the snapshot, it draws random numbers of its own from now on, and leaves objects alone of which
    each process had its own.
    """
    parts = parts or {}
    if rank in parts:
        return {**first, **{name: _unpacked(block) for name, block in parts[rank].items()}}
    draw_apart(rank)
    apart = {RANDOM, *(name for part in parts.values() for name in part)}
    return {name: held for name, held in first.items() if name not in apart}


def draw_apart(rank: int) -> None:
    """Seed all random generators anew, differently for each rank and after each number of draws."""
    seed = int(torch.randint(1 << 30, ())) + 7919 * rank
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def average(losses: list[Any], group: Group) -> Tensor:
    """Return the mean over all processes of the losses of some steps [steps], the same number in each. A collective.

    Losses on a GPU stay there; nothing waits for them.
    """
    device = next((x.device for x in losses if isinstance(x, Tensor)), torch.device("cpu"))
    mine = torch.stack([torch.as_tensor(x, dtype=torch.float32, device=device) for x in losses])
    return group.total(mine) / group.place.size


def _own(subject: Subject) -> dict[str, Mapping[str, Any]]:
    return {RANDOM: rng.states(), **{name: held.state_dict() for name, held in subject.registered.items()}}


def _bytes(block: bytes) -> Tensor:
    return torch.frombuffer(bytearray(block), dtype=torch.uint8) if block else torch.zeros(0, dtype=torch.uint8)


def _packed(values: Mapping[str, Any]) -> bytes:
    return save({name: t.cpu().clone().contiguous() for name, t in packing.pack(values).items()})


def _unpacked(block: bytes) -> dict[str, Any]:
    return packing.unpack(load(block))
