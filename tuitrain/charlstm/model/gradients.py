"""Measures gradient norms per group, and clips gradients. Knows nothing of losses or optimizers."""

import torch
from torch import Tensor, nn

from tuitrain.charlstm.model.network import CharRNN


class Gradients:
    """Measures and clips the gradients of one model without a host sync.

    All norms are L2 and before clipping. Global-norm clipping after Pascanu, Mikolov, Bengio 2013 (1211.5063),
    with the same arithmetic as `torch.nn.utils.clip_grad_norm_`.
    """

    def __init__(self, model: CharRNN) -> None:
        groups = list(model.groups())
        self.names = [name for name, _ in groups]
        self.parameters: list[nn.Parameter] = [p for _, members in groups for p in members]
        self._sizes = [len(members) for _, members in groups]

    def tensors(self) -> list[Tensor]:
        """Return the gradients in the order of the groups."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def norms(self) -> tuple[Tensor, Tensor]:
        """Return (global norm [], norm per group [groups])."""
        each = torch.stack(torch._foreach_norm(self.tensors()))
        return torch.linalg.vector_norm(each), self._grouped(each)

    def by_group(self, tensors: list[Tensor]) -> Tensor:
        """Return the norm per group [groups] of tensors in the order of the parameters."""
        return self._grouped(torch.stack(torch._foreach_norm(tensors)))

    def _grouped(self, each: Tensor) -> Tensor:
        return torch.stack([part.square().sum() for part in each.split(self._sizes)]).sqrt()

    def clip(self, norm: Tensor, threshold: Tensor) -> None:
        """Scale all gradients so that their global norm is at most `threshold` (inf: no clip)."""
        factor = (threshold / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(self.tensors(), factor)

    def clamp(self, threshold: Tensor) -> None:
        """Clamp each element to +-threshold (char-rnn's `grad_clip`), which also changes the direction."""
        if threshold.device.type == "cpu":  # a Python number is faster there, and reading it costs nothing
            bound = float(threshold)
            torch._foreach_clamp_min_(self.tensors(), -bound)
            torch._foreach_clamp_max_(self.tensors(), bound)
            return
        for gradient in self.tensors():
            gradient.clamp_(-threshold, threshold)
