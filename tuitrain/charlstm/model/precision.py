"""Number formats of the forward and the backward pass: fp32, tf32, bf16, fp16. Knows no optimizer.

`tf32` is fp32 whose products are of numbers with 10 bits of mantissa, as cuDNN's layers take them on a GPU unless told
otherwise. In `bf16` and `fp16` recurrent layers and head compute in 16 bits, while weights, moments, embedding and loss
stay in fp32. On a GPU that is done by casting, not by autocast, which runs cuDNN's layers in fp16 whatever it is asked
for.
"""

import copy

import torch
from torch import Tensor

from tuitrain.charlstm import runtime
from tuitrain.charlstm.model.cells import CELLS
from tuitrain.charlstm.model.network import CharRNN, Hidden
from tuitrain.errors import UsageError

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST = 2.0**16
"""The loss scale at the start, and the highest: sixteen overflows in a row bring it down to 1, where an overflow is the
run's own, and the guard acts after twenty."""
GROW = 2000
"""Steps without an overflow after which the scale is doubled."""


class LossScale:
    """A factor on the loss that keeps small gradients out of fp16's subnormal numbers.

    It is halved where a gradient overflows and doubled after `GROW` steps in which none did (Micikevicius et al. 2018,
    1710.03740). All of it stays on the device, so a graph holds it; powers of two, so that to scale rounds nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), FIRST, device=device)
        self.good = torch.zeros((), device=device)

    def tensors(self) -> dict[str, Tensor]:
        """The live state by name."""
        return {"value": self.value, "good": self.good}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Set the state in place; where nothing was saved it begins anew."""
        self.value.copy_(saved.get("value", torch.tensor(FIRST)))
        self.good.copy_(saved.get("good", torch.tensor(0.0)))

    def update(self, overflowed: Tensor) -> None:
        """Take note of a step, whose gradient did not fit or did."""
        good = (self.good + 1) * ~overflowed
        grown = good >= GROW
        self.value.mul_(1 + grown.float() - 0.5 * overflowed.float()).clamp_(1.0, FIRST)
        self.good.copy_(good * ~grown)


class Forward:
    """The pass in fp32 and tf32, and on a CPU in bf16. Leaves gradients in fp32 on the model's parameters."""

    scale: LossScale | None = None
    module: CharRNN
    """What computes: its dropout is the one in force."""

    def __init__(self, model: CharRNN, device: torch.device, precision: str) -> None:
        self.module, self._device, self._precision = model, device, precision
        self._parameters = list(model.parameters())

    def __call__(self, ids: Tensor, hidden: Hidden, *, last: bool) -> tuple[Tensor, Hidden]:
        """Logits in fp32 and the hidden state after; forgets the gradients of the step before."""
        self.forget()
        with runtime.autocast(self._device.type, self._precision):
            logits, after = self.module(ids, hidden, last=last)
        return logits.float(), after

    def forget(self) -> None:
        """Let the gradients go."""
        for parameter in self._parameters:
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """The gradients of a loss."""
        loss.backward()


class CastForward(Forward):
    """The pass with recurrent layers and head in 16 bits: on copies of their weights, cast anew in each step.

    The copies belong to a module of their own, so that they lie in one piece as cuDNN wants them.
    """

    def __init__(self, model: CharRNN, device: torch.device, precision: str) -> None:
        super().__init__(model, device, precision)
        dtype = HALF[precision]
        self.module = copy.deepcopy(model)
        self.module.embedding = model.embedding
        self.module.rnn.to(dtype)
        self.module.head.to(dtype)
        self._casts = [(master, cast) for master, cast in zip(model.parameters(), self.module.parameters(), strict=True)
                       if master is not cast]
        self._dtype = dtype
        self.scale = LossScale(device) if precision == "fp16" else None

    def __call__(self, ids: Tensor, hidden: Hidden, *, last: bool) -> tuple[Tensor, Hidden]:
        """As of `Forward`."""
        self.forget()
        with torch.no_grad():
            torch._foreach_copy_([cast for _, cast in self._casts], [master for master, _ in self._casts])
        logits, after = self.module(ids, tuple(state.to(self._dtype) for state in hidden), last=last)
        return logits.float(), after

    def forget(self) -> None:
        """Let the gradients go."""
        super().forget()
        for _, cast in self._casts:
            cast.grad = None

    def backward(self, loss: Tensor) -> None:
        """The gradients of a loss, without the loss scale."""
        (loss if self.scale is None else loss * self.scale.value).backward()
        for master, cast in self._casts:
            assert cast.grad is not None
            master.grad = cast.grad.to(master.dtype)
        if self.scale is not None:
            torch._foreach_mul_([p.grad for p in self._parameters if p.grad is not None], 1 / self.scale.value)


def forward(model: CharRNN, device: torch.device, precision: str) -> Forward:
    """The pass of a model in a format. A CPU's bf16 is autocast's: oneDNN casts inside its own layers."""
    casts = precision == "fp16" or (precision == "bf16" and device.type != "cpu")
    return (CastForward if casts else Forward)(model, device, precision)


def set_up(precision: str) -> None:
    """Let the products on a GPU round to tf32, or not; also those that stay in fp32 beside 16 bits."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def check(cell: str, precision: str, device: torch.device) -> None:
    """Raise UsageError if a cell does not run in this format here, whatever torch says."""
    if precision in HALF and device.type != "cpu" and output_format(cell, precision, device) != HALF[precision]:
        raise UsageError(f"--precision {precision}: the {CELLS[cell].spec.title} of this GPU does not run in it; "
                         "leave it at auto")


def output_format(cell: str, precision: str, device: torch.device) -> torch.dtype | None:
    """The format of what layers of so cast weights give out; None if they refuse them."""
    dtype = HALF[precision]
    try:
        layer = CELLS[cell].module(8, 8, batch_first=True).to(device, dtype)
        out, _ = layer(torch.zeros(1, 2, 8, device=device, dtype=dtype))
    except RuntimeError:
        return None
    return out.dtype
