"""The whole state of a run at one step, in memory and immutable.

Because a snapshot never changes, one copy serves rollback, evaluation, sampling and saving alike; nothing is copied
twice and no buffer can be overwritten under a reader. Knows nothing of files.
"""

import contextlib
import mmap
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
LARGE = 1 << 20
"""Bytes from which a copy gets a block of its own."""
_idle: deque[mmap.mmap] = deque(maxlen=2)
"""Blocks whose snapshot is gone: to touch a fresh one takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Tensors by name (`model.`, `optimizer.`, `hidden.`, `rng.`, `diagnosis.`) and facts that JSON can hold."""

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
    copies = _empty(sources)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(sources):
        groups.setdefault((tensor.device, tensor.dtype), []).append(i)
    for members in groups.values():
        torch._foreach_copy_([copies[i] for i in members], [sources[i] for i in members])
    return dict(zip(names, copies, strict=True))


def _empty(sources: list[Tensor]) -> list[Tensor]:
    """Room for copies. On the CPU one block outside the allocator's heap, one of a forgotten snapshot if there is any.

    In the heap a snapshot would take the place of the activations that the last step has freed, and the next step
    would have to grow the heap anew: at 3x512 that step took 200 ms longer, 4 % of the training.
    """
    host = [t for t in sources if t.device.type == "cpu"]
    size = sum(_padded(t) for t in host)
    if size < LARGE:
        return [torch.empty_like(t) for t in sources]
    block = torch.frombuffer(_pages(size), dtype=torch.uint8)  # keeps the pages for as long as a view of it lives
    copies, begin = [], 0
    for tensor in sources:
        if tensor.device.type != "cpu":
            copies.append(torch.empty_like(tensor))
            continue
        end = begin + tensor.numel() * tensor.element_size()
        copies.append(block[begin:end].view(tensor.dtype).view(tensor.shape))
        begin += _padded(tensor)
    return copies


def _pages(size: int) -> memoryview:
    """A block of this many bytes; it is idle again when the last who looks at it is gone."""
    pages = None
    with contextlib.suppress(IndexError):
        while pages is None or len(pages) != size:  # another run's blocks, of another size, are let go
            pages = _idle.popleft()
    if pages is None or len(pages) != size:
        pages = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                pages.madvise(mmap.MADV_HUGEPAGE)  # 2 MB at a fault instead of 4 kB
    view = memoryview(pages)
    weakref.finalize(view, _idle.append, pages)
    return view


def _padded(tensor: Tensor) -> int:
    size = tensor.numel() * tensor.element_size()
    return -(-size // ALIGNMENT) * ALIGNMENT
