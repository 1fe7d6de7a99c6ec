"""Finds out if all processes of a script train one model and want it to be watched, and joins them."""

import dataclasses
import itertools
import os
import sys
from collections.abc import Sequence
from datetime import timedelta

import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import _get_default_store
from torch.optim import Optimizer

from tuitrain.engine.ranks.group import Group
from tuitrain.engine.ranks.place import Place, place
from tuitrain.engine.ranks.state import checksum, drifted
from tuitrain.knobs import Knobs
from tuitrain.watching.gradients import Grouped
from tuitrain.watching.pilot import Pilot
from tuitrain.watching.ranks.follower import FollowedSubject, Follower, Member, Nowhere, Unheard
from tuitrain.watching.ranks.leader import Leader
from tuitrain.watching.subject import Stateful

ALL_HERE = 30.0
"""Seconds within which every process must have called `tuitrain.watch`."""
SILENCE = 1800.0
"""Seconds that a process may need between two steps, in which a script may evaluate, or save a large model."""
__all__ = ["Leader", "following", "join"]
_calls = itertools.count(1)


def join(model: nn.Module) -> Group | None:
    """Return the group of all processes, or None if some do not call this, or have other weights. All ranks call this.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    if not _all_here(rank, size, next(_calls)):
        return None
    known = place()
    mine = known or Place(rank=rank, size=size, local=rank, local_size=size)
    told = "TUITRAIN_RANK_TIMEOUT" in os.environ
    group = Group(dataclasses.replace(mine, rank=rank, size=size, timeout=mine.timeout if told else SILENCE))
    if drifted(group.gather(checksum(model.parameters()))):
        group.close()
        return None
    return group


def following(model: nn.Module, optimizers: Sequence[Optimizer], schedulers: Sequence[Stateful], knobs: Knobs,
              grouped: Grouped, group: Group) -> Pilot:
    """Return the pilot of a rank other than 0, with the state that rank 0 begins with. Raises RunError."""
    subject = FollowedSubject(model, optimizers, schedulers, knobs)
    subject.ranks = Member(subject, group)
    follower = Follower(subject, grouped, group)
    follower.begin()
    return Pilot(follower, Unheard(), Nowhere())


def _all_here(rank: int, size: int, call: int) -> bool:
    """Return whether all processes are here, which rank 0 decides; a call of it alone must not wait for ever."""
    limit, name = timedelta(seconds=ALL_HERE), f"tuitrain.watch/{call}"
    try:
        store = _get_default_store()
        store.set(f"{name}/{rank}", "here")
        if rank:
            store.wait([f"{name}/all"], 2 * limit)
            return bool(store.get(f"{name}/all") == b"yes")
        try:
            store.wait([f"{name}/{other}" for other in range(size)], limit)
        except (RuntimeError, ValueError):
            store.set(f"{name}/all", "no")
            return False
        store.set(f"{name}/all", "yes")
        return True
    except (RuntimeError, ValueError) as error:
        sys.stderr.write(f"tuitrain: process {rank} cannot reach the others: {str(error).splitlines()[0]}\n")
        return False
