"""Global and per-group norms of a model's gradients, without waiting for a device. Changes no gradient.

Norms of gradients on the host are Python numbers at once: adding a few of them takes a tenth of the time that tensors
of one element do. Those on another device stay tensors there.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuitrain.errors import UsageError

Groups = Mapping[str, str | Iterable[nn.Parameter]] | Callable[[str], str]
"""A mapping from a group's name to the prefix of its parameters' names, or to the parameters themselves; or a function
from a parameter's name to the name of its group."""
OWN = "own"
"""The group of parameters that belong directly to the top-level module."""
Norms = list[float] | list[Tensor]
"""The norm of each gradient: numbers if all are on the host, else tensors of one element."""
GroupNorms = NDArray[np.float32] | Tensor
"""A norm per group [groups]."""


class Grouped:
    """Assigns parameters to groups. `names` lists the groups in the order of their first parameter."""

    def __init__(self, model: nn.Module, groups: Groups | None) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        group_of = _chosen(groups, named) if groups is not None else _by_module([name for name, _ in named])
        self.names: list[str] = list(dict.fromkeys(group_of.values()))
        place = {name: i for i, name in enumerate(self.names)}
        self._group = {id(p): place[group_of[name]] for name, p in named if name in group_of}
        self.parameters = [p for _, p in named]

    def norms(self, parameters: Iterable[nn.Parameter], each: Norms) -> GroupNorms | None:
        """Return the L2 norm per group from the norm of each gradient; None if no parameter is in a group."""
        members: list[list[Any]] = [[] for _ in self.names]
        for parameter, norm in zip(parameters, each, strict=True):
            place = self._group.get(id(parameter))
            if place is not None:
                members[place].append(norm)
        if not any(members):
            return None
        found = [global_norm(group) if group else math.nan for group in members]
        device = next((norm.device for norm in found if isinstance(norm, Tensor)), None)
        if device is None:
            return np.array(found, dtype=np.float32)
        return torch.stack([torch.as_tensor(norm, dtype=torch.float32, device=device) for norm in found])


def _by_module(names: list[str]) -> dict[str, str]:
    """Return the group of each parameter: its top-level module, descending where there is only one."""
    cut = 0
    while True:
        heads = {tuple(name.split(".")[: cut + 1]) for name in names}
        if len(heads) != 1 or any(len(name.split(".")) <= cut + 2 for name in names):
            break
        cut += 1
    found = {}
    for name in names:
        parts = name.split(".")
        found[name] = parts[cut] if len(parts) > cut + 1 else OWN
    return found


def _chosen(groups: Groups, named: list[tuple[str, nn.Parameter]]) -> dict[str, str]:
    if callable(groups):
        return {name: str(groups(name)) for name, _ in named}
    found: dict[str, str] = {}
    for group, members in groups.items():
        if isinstance(members, str):
            mine = [name for name, _ in named if name == members or name.startswith(members + ".")]
        else:
            wanted = {id(p) for p in members}
            mine = [name for name, p in named if id(p) in wanted]
        if not mine:
            raise UsageError(f"groups: {group!r} has no parameter of the model; name a module such as "
                             f"{named[0][0].rpartition('.')[0] or named[0][0]!r}")
        found |= dict.fromkeys(mine, str(group))
    return found


@torch.no_grad()
def gradient_norms(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], Norms]:
    """Return the parameters that have a gradient, and the L2 norm of each gradient."""
    mine, gradients = [], []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            mine.append(parameter)
            gradients.append(gradient)
    if not gradients:
        return [], []
    try:
        each = list(torch._foreach_norm(gradients))
    except (RuntimeError, NotImplementedError):  # sparse gradients, or several devices: one by one
        each = [torch.linalg.vector_norm(g.coalesce().values() if g.is_sparse else g) for g in gradients]
    if all(norm.is_cpu for norm in each):
        return mine, [norm.item() for norm in each]
    return mine, each


@torch.no_grad()
def unscaled(each: Norms, scale: Tensor) -> Norms:
    """Return the norms divided by a gradient scaler's scale, a tensor of one element."""
    tensors = [norm / scale.to(norm.device) for norm in each if isinstance(norm, Tensor)]
    if tensors:
        return tensors
    factor = float(scale)
    return [float(norm) / factor for norm in each]


@torch.no_grad()
def global_norm(each: Norms) -> float | Tensor:
    """Return the global L2 norm from the norms of the single gradients."""
    devices = [norm.device for norm in each if isinstance(norm, Tensor)]
    if not devices:
        return math.sqrt(sum(norm * norm for norm in each))
    return torch.linalg.vector_norm(torch.stack([torch.as_tensor(norm, dtype=torch.float32, device=devices[0])
                                                 for norm in each]))
