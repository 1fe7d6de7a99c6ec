"""The complete state of a run at one step, in memory and immutable. Knows nothing of files.

Because a snapshot never changes, one copy serves rollback, evaluation, sampling and saving; nothing is copied twice
and no buffer can be overwritten while it is read.
"""

import contextlib
import mmap
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64
LARGE = 1 << 20
"""Bytes from which a copy on the CPU gets its own block."""
_idle: deque[mmap.mmap] = deque(maxlen=2)
"""Blocks of dropped snapshots, for reuse: writing to freshly mapped pages takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at a step: `tensors` by name (`model.`, `optimizer.`, `hidden.`, `rng.`, `diagnosis.`), and
    `values`, which is all else and fits into JSON."""

    branch: int
    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    ready: torch.cuda.Event | None = None
    """Completes when the tensors on the GPU are written."""
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", sum(t.numel() * t.element_size() for t in self.tensors.values()))

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with a prefix, without it."""
        cut = len(prefix) + 1
        return {name[cut:]: t for name, t in self.tensors.items() if name.startswith(prefix + ".")}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all tensors as read-only arrays on the host. Waits for a GPU without delaying its training stream.

        Makes one copy for each block of GPU memory, in its own stream: a small model has some sixty tensors, and sixty
        copies in the training stream would each wait for the steps queued there.
        """
        gpu = next((t.device for t in self.tensors.values() if t.is_cuda), None)
        if gpu is None:
            if self.ready is not None:  # a GPU may still be writing into them
                self.ready.synchronize()
            return {name: t.cpu().numpy() for name, t in self.tensors.items()}
        stream = torch.cuda.Stream(gpu)
        if self.ready is not None:
            stream.wait_event(self.ready)
        else:
            stream.wait_stream(torch.cuda.default_stream(gpu))
        with torch.cuda.stream(stream):
            fetched = in_blocks(self.tensors, _pinned)
        stream.synchronize()
        return {name: t.numpy() for name, t in fetched.items()}


def in_blocks(tensors: Mapping[str, Tensor], copy: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return the tensors as views into copies of their memory; `copy` is called once per block, with its bytes [n]."""
    blocks: dict[int, Tensor] = {}
    views = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in blocks:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(memory)
            blocks[memory.data_ptr()] = copy(whole)
        views[name] = torch.empty(0, dtype=tensor.dtype).set_(
            blocks[memory.data_ptr()].untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    return views


def _pinned(block: Tensor) -> Tensor:
    """Start copying a block to pinned host memory; a block on the host is returned unchanged."""
    if not block.is_cuda:
        return block
    return torch.empty(block.shape, dtype=block.dtype, pin_memory=True).copy_(block, non_blocking=True)


def copied(live: Mapping[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
    """Copy live tensors, in one call per device and dtype; all to `device` if given."""
    names = list(live)
    sources = [live[name].detach() for name in names]
    copies = _empty(sources, device)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(sources):
        groups.setdefault((tensor.device, tensor.dtype), []).append(i)
    for members in groups.values():
        torch._foreach_copy_([copies[i] for i in members], [sources[i] for i in members])
    return dict(zip(names, copies, strict=True))


def _empty(sources: list[Tensor], device: torch.device | None) -> list[Tensor]:
    """Allocate uninitialised copies, in one block per device so that they can later be fetched in one transfer.

    On the CPU the block lies outside the allocator's heap and is reused from a dropped snapshot if possible. In the
    heap a snapshot would occupy the memory of the activations that the last step freed, and the next step would have
    to grow the heap again: at 3x512 that step took 200 ms longer, 4 % of the training.
    """
    places = [device or t.device for t in sources]
    sizes: dict[torch.device, int] = {}
    for tensor, place in zip(sources, places, strict=True):
        sizes[place] = sizes.get(place, 0) + _padded(tensor)
    blocks = {place: _block(size, place) for place, size in sizes.items()}
    begins = dict.fromkeys(sizes, 0)
    copies = []
    for tensor, place in zip(sources, places, strict=True):
        block, begin = blocks[place], begins[place]
        if block is None:
            copies.append(torch.empty_like(tensor, device=place))
            continue
        end = begin + tensor.numel() * tensor.element_size()
        copies.append(block[begin:end].view(tensor.dtype).view(tensor.shape))
        begins[place] += _padded(tensor)
    return copies


def _block(size: int, place: torch.device) -> Tensor | None:
    """Allocate a block of `size` bytes on a device; None for small ones on the CPU, which belong in the heap."""
    if place.type != "cpu":
        return torch.empty(size, dtype=torch.uint8, device=place)
    if size < LARGE:
        return None
    return torch.frombuffer(_pages(size), dtype=torch.uint8)  # keeps the pages alive as long as any view


def _pages(size: int) -> memoryview:
    """Return a block of `size` bytes, which goes back to the idle blocks once its last view is gone."""
    pages = None
    with contextlib.suppress(IndexError):
        while pages is None or len(pages) != size:  # blocks of another size, from another run, are freed
            pages = _idle.popleft()
    if pages is None or len(pages) != size:
        pages = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                pages.madvise(mmap.MADV_HUGEPAGE)  # 2 MB per page fault instead of 4 kB
    view = memoryview(pages)
    weakref.finalize(view, _idle.append, pages)
    return view


def _padded(tensor: Tensor) -> int:
    size = tensor.numel() * tensor.element_size()
    return -(-size // ALIGNMENT) * ALIGNMENT
