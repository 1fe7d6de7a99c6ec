"""Global and per-group norms of a model's gradients, without waiting for a device. Changes no gradient."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from tuitrain.errors import UsageError

Groups = Mapping[str, str | Iterable[nn.Parameter]] | Callable[[str], str]
"""A mapping from a group's name to the prefix of its parameters' names, or to the parameters themselves; or a function
from a parameter's name to the name of its group."""
OWN = "own"
"""The group of parameters that belong directly to the top-level module."""


class Grouped:
    """Assigns parameters to groups. `names` lists the groups in the order of their first parameter."""

    def __init__(self, model: nn.Module, groups: Groups | None) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        group_of = _chosen(groups, named) if groups is not None else _by_module([name for name, _ in named])
        self.names: list[str] = list(dict.fromkeys(group_of.values()))
        place = {name: i for i, name in enumerate(self.names)}
        self._group = {id(p): place[group_of[name]] for name, p in named if name in group_of}
        self.parameters = [p for _, p in named]

    def norms(self, parameters: Iterable[nn.Parameter], each: list[Tensor]) -> Tensor | None:
        """Return the L2 norm per group [groups] from the norm of each gradient; None if no parameter is in a group."""
        members: list[list[Tensor]] = [[] for _ in self.names]
        for parameter, norm in zip(parameters, each, strict=True):
            place = self._group.get(id(parameter))
            if place is not None:
                members[place].append(norm)
        if not any(members):
            return None
        device = each[0].device
        return torch.stack([torch.linalg.vector_norm(torch.stack([n.to(device) for n in group])).float() if group
                            else torch.full((), torch.nan, device=device) for group in members])


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
def gradient_norms(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[Tensor]]:
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
        return mine, list(torch._foreach_norm(gradients))
    except (RuntimeError, NotImplementedError):  # sparse gradients, or several devices: one by one
        return mine, [torch.linalg.vector_norm(g.coalesce().values() if g.is_sparse else g) for g in gradients]


@torch.no_grad()
def global_norm(each: list[Tensor]) -> Tensor:
    """Return the global L2 norm from the norms of the single gradients."""
    try:
        return torch.linalg.vector_norm(torch.stack(each))
    except RuntimeError:  # on several devices
        return torch.linalg.vector_norm(torch.stack([n.to(each[0].device).float() for n in each]))
