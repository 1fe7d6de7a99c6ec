"""The rows of each batch that one of several processes computes. Gradients are averaged by DistributedDataParallel."""

import warnings

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tuitrain.charlstm.model.whole_batch import Offsets, WholeBatch
from tuitrain.engine.ranks.group import losing
from tuitrain.engine.ranks.place import Place


class Share(WholeBatch):
    """Rank r's rows: r * B/W to (r + 1) * B/W, with their hidden state."""

    def __init__(self, place: Place) -> None:
        self._rank, self._size = place.rank, place.size

    def count(self, batch_size: int) -> int:
        """Return how many rows of a batch are this process'."""
        return batch_size // self._size

    def of(self, offsets: Offsets) -> Offsets:
        """Return where this process' rows begin."""
        rows = self.count(len(offsets))
        return offsets[self._rank * rows : (self._rank + 1) * rows]

    def rows(self, hidden: Tensor) -> Tensor:
        """Return this process' part of a hidden state [layers, B, hidden]."""
        return hidden.chunk(self._size, 1)[self._rank]

    def wrap(self, module: nn.Module) -> nn.Module:
        """Have the gradients of a module averaged over all processes while they are computed."""
        device = next(module.parameters()).device
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has a new name for it, which 2.12 does not know
            return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None,
                                           broadcast_buffers=False)

    def together(self, loss: Tensor, rows: Tensor, good: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return of the whole batch what is passed of this process' rows."""
        mine = torch.cat([rows, loss.view(1), good.to(rows.dtype).view(1)])
        parts = [torch.empty_like(mine) for _ in range(self._size)]
        with losing():
            dist.all_gather(parts, mine)
        every = torch.stack(parts)
        return every[:, -2].mean(), every[:, :-2].flatten(), every[:, -1].bool().all()
