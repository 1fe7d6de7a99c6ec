"""The state of a run whose batch is shared: what each process has of it, and how it is handed out again."""

import torch
from torch import Tensor

from tuitrain.charlstm.machine import Machine
from tuitrain.engine.ranks.group import Group
from tuitrain.engine.ranks.state import checksum
from tuitrain.engine.snapshot import Snapshot

RANDOM = "rng.ranks"
"""The state of the random numbers of each process [ranks, bytes], kept where dropout draws them."""
CHECKSUM = "checksum"


def gathered(machine: Machine, group: Group) -> dict[str, list[Tensor]]:
    """Return by name what each rank has for itself: hidden states, random numbers, a checksum of its weights.

    All ranks call this.
    """
    mine = {f"hidden.{name}": state.cpu() for name, state in zip(machine.model.cell.states, machine.learner.hidden,
                                                                 strict=True)}
    if machine.config.dropout:
        mine[RANDOM] = _random(machine)
    mine[CHECKSUM] = checksum(machine.model.parameters())
    return {name: group.gather(tensor) for name, tensor in mine.items()}


def draw_apart(machine: Machine, group: Group, snapshot: Snapshot) -> None:
    """Restore this process' random numbers; where the snapshot was made by another number of processes, new ones.

    Two processes must not draw the same dropout.
    """
    if not machine.config.dropout:
        return
    kept, rank = snapshot.tensors.get(RANDOM), group.place.rank
    if kept is None or len(kept) != group.place.size:
        torch.manual_seed(hash((machine.config.seed, snapshot.step, rank)))
    elif machine.device.type == "cuda":
        torch.cuda.set_rng_state(kept[rank].cpu().clone(), machine.device)
    else:
        torch.set_rng_state(kept[rank].cpu().clone())


def _random(machine: Machine) -> Tensor:
    cuda = machine.device.type == "cuda"
    return torch.cuda.get_rng_state(machine.device) if cuda else torch.get_rng_state()
