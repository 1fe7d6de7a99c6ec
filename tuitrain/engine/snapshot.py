"""The whole state of a run at one step, in memory and immutable.

Because a snapshot never changes, one copy serves rollback, evaluation, sampling and saving alike; nothing is copied
twice and no buffer can be overwritten under a reader. Knows nothing of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Tensors by name (`model.`, `optimizer.`, `hidden.`, `rng.`) and facts that JSON can hold."""

    branch: int
    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", sum(t.numel() * t.element_size() for t in self.tensors.values()))

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        cut = len(prefix) + 1
        return {name[cut:]: t for name, t in self.tensors.items() if name.startswith(prefix + ".")}


def copied(live: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fresh copies of live tensors, in one call for those that share a device."""
    names = list(live)
    sources = [live[name].detach() for name in names]
    copies = [torch.empty_like(t) for t in sources]
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(sources):
        groups.setdefault((tensor.device, tensor.dtype), []).append(i)
    for members in groups.values():
        torch._foreach_copy_([copies[i] for i in members], [sources[i] for i in members])
    return dict(zip(names, copies, strict=True))
