"""Number formats of the forward and the backward pass: fp32, tf32, bf16, fp16. Knows no optimizer.

`tf32` is fp32 with products of numbers with 10 bits of mantissa, the default of cuDNN's layers on a GPU. In `bf16` and
`fp16` recurrent layers and head compute in 16 bits, while weights, moments, embedding and loss stay in fp32. On a GPU
that is done by casting, not by autocast, which runs cuDNN's layers in fp16 whatever the type asked for.
"""

import copy

import torch
from torch import Tensor

from tuitrain.charlstm import runtime
from tuitrain.charlstm.model.cells import CELLS
from tuitrain.charlstm.model.network import CharRNN, Hidden
from tuitrain.charlstm.model.whole_batch import WholeBatch
from tuitrain.errors import UsageError

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST = 2.0**16
"""The initial and largest loss scale. Sixteen overflows in a row bring it down to 1, where an overflow is no longer due
to the scale; the guard acts after twenty."""
GROW = 2000
"""Steps without an overflow after which the scale is doubled."""


class LossScale:
    """A factor on the loss that keeps small gradients out of fp16's subnormal numbers.

    It is halved if a gradient overflows and doubled after `GROW` steps in which none did (Micikevicius et al. 2018,
    1710.03740). It stays on the device, so that a graph can contain it; a power of two, so that scaling is exact.
    """

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), FIRST, device=device)
        self.good = torch.zeros((), device=device)

    def tensors(self) -> dict[str, Tensor]:
        """Return the live state tensors by name."""
        return {"value": self.value, "good": self.good}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Restore the state in place; absent values are set to their initial ones."""
        self.value.copy_(saved.get("value", torch.tensor(FIRST)))
        self.good.copy_(saved.get("good", torch.tensor(0.0)))

    def update(self, overflowed: Tensor) -> None:
        """Adapt the scale after a step; `overflowed` says whether its gradient overflowed."""
        good = (self.good + 1) * ~overflowed
        grown = good >= GROW
        self.value.mul_(1 + grown.float() - 0.5 * overflowed.float()).clamp_(1.0, FIRST)
        self.good.copy_(good * ~grown)


class Forward:
    """Forward and backward pass in fp32 and tf32, and on a CPU in bf16. Leaves fp32 gradients on the parameters."""

    scale: LossScale | None = None
    module: CharRNN
    """The module that computes; its dropout is the one in force."""

    def __init__(self, model: CharRNN, device: torch.device, precision: str,
                 batch: WholeBatch | None = None) -> None:
        self.module, self._device, self._precision = model, device, precision
        self._parameters = list(model.parameters())
        self._compute = (batch or WholeBatch()).wrap(model)

    def __call__(self, ids: Tensor, hidden: Hidden, *, last: bool) -> tuple[Tensor, Hidden]:
        """Return fp32 logits and the new hidden state; drops the gradients of the previous step."""
        self.forget()
        with runtime.autocast(self._device.type, self._precision):
            logits, after = self._compute(ids, hidden, last=last)
        return logits.float(), after

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss."""
        loss.backward()


class CastForward(Forward):
    """Forward and backward pass with recurrent layers and head in 16 bits, on weights cast in each step.

    The copies belong to a module of their own, so that they lie in one block, as cuDNN requires.
    """

    def __init__(self, model: CharRNN, device: torch.device, precision: str,
                 batch: WholeBatch | None = None) -> None:
        super().__init__(model, device, precision)
        dtype = HALF[precision]
        self.module = copy.deepcopy(model)
        self.module.embedding = model.embedding
        self.module.rnn.to(dtype)
        self.module.head.to(dtype)
        self._casts = [(master, cast) for master, cast in zip(model.parameters(), self.module.parameters(), strict=True)
                       if master is not cast]
        self._dtype = dtype
        self._compute = (batch or WholeBatch()).wrap(self.module)
        self.scale = LossScale(device) if precision == "fp16" else None

    def __call__(self, ids: Tensor, hidden: Hidden, *, last: bool) -> tuple[Tensor, Hidden]:
        """See Forward."""
        self.forget()
        with torch.no_grad():
            torch._foreach_copy_([cast for _, cast in self._casts], [master for master, _ in self._casts])
        logits, after = self._compute(ids, tuple(state.to(self._dtype) for state in hidden), last=last)
        return logits.float(), after

    def forget(self) -> None:
        """Drop the gradients."""
        super().forget()
        for _, cast in self._casts:
            cast.grad = None

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss, with the loss scale removed."""
        (loss if self.scale is None else loss * self.scale.value).backward()
        for master, cast in self._casts:
            assert cast.grad is not None
            master.grad = cast.grad.to(master.dtype)
        if self.scale is not None:
            torch._foreach_mul_([p.grad for p in self._parameters if p.grad is not None], 1 / self.scale.value)


def forward(model: CharRNN, device: torch.device, precision: str, batch: WholeBatch) -> Forward:
    """Return the pass of a model in a format. A CPU's bf16 uses autocast, as oneDNN casts inside its own layers."""
    casts = precision == "fp16" or (precision == "bf16" and device.type != "cpu")
    return (CastForward if casts else Forward)(model, device, precision, batch)


def set_up(precision: str) -> None:
    """Allow or forbid tf32 products on a GPU, which also affects the fp32 part beside 16 bits."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def check(cell: str, precision: str, device: torch.device) -> None:
    """Raise UsageError if a cell does not really run in this format here, even if torch accepts it."""
    if device.type == "cpu" and precision == "bf16" and cell == "gru":
        raise UsageError("--precision bf16: torch computes a GRU in fp32 on a CPU whatever it is asked for; leave it "
                         "at auto")
    if precision in HALF and device.type != "cpu" and output_format(cell, precision, device) != HALF[precision]:
        raise UsageError(f"--precision {precision}: the {CELLS[cell].spec.title} of this GPU does not run in it; "
                         "leave it at auto")


def output_format(cell: str, precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type of the output of layers with weights cast to a format; None if they refuse it."""
    dtype = HALF[precision]
    try:
        layer = CELLS[cell].module(8, 8, batch_first=True).to(device, dtype)
        out, _ = layer(torch.zeros(1, 2, 8, device=device, dtype=dtype))
    except RuntimeError:
        return None
    return out.dtype
