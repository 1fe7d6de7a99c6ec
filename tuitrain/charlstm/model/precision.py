"""Number formats of the forward and the backward pass: fp32, tf32, bf16, fp16. Knows no optimizer.

`tf32` is fp32 whose products are of numbers with 10 bits of mantissa, as cuDNN's LSTM takes them on a GPU unless told
otherwise. In `bf16` and `fp16` LSTM and head compute in 16 bits, while weights, moments, embedding and loss stay in
fp32. On a GPU that is done by casting, not by autocast, which runs cuDNN's LSTM in fp16 whatever it is asked for.
"""

import copy

import torch
from torch import Tensor, nn

from tuitrain.charlstm import runtime
from tuitrain.charlstm.model.network import CharLSTM, Hidden
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
    module: CharLSTM
    """What computes: its dropout is the one in force."""

    def __init__(self, model: CharLSTM, device: torch.device, precision: str) -> None:
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
    """The pass with LSTM and head in 16 bits: on copies of their weights, which a step begins by casting anew.

    The copies belong to a module of their own, so that they lie in one piece as cuDNN wants them.
    """

    def __init__(self, model: CharLSTM, device: torch.device, precision: str) -> None:
        super().__init__(model, device, precision)
        dtype = HALF[precision]
        self.module = copy.deepcopy(model)
        self.module.embedding = model.embedding
        self.module.lstm.to(dtype)
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
        logits, after = self.module(ids, (hidden[0].to(self._dtype), hidden[1].to(self._dtype)), last=last)
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


def forward(model: CharLSTM, device: torch.device, precision: str) -> Forward:
    """The pass of a model in a format. A CPU's bf16 is autocast's: oneDNN casts inside its own LSTM."""
    casts = precision == "fp16" or (precision == "bf16" and device.type != "cpu")
    return (CastForward if casts else Forward)(model, device, precision)


def set_up(precision: str) -> None:
    """Let the products on a GPU round to tf32, or not; also those that stay in fp32 beside 16 bits."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"


def check(precision: str, device: torch.device) -> None:
    """Raise UsageError if an LSTM does not run in this format here, whatever torch says."""
    if precision in HALF and device.type != "cpu" and lstm_format(precision, device) != HALF[precision]:
        raise UsageError(f"--precision {precision}: the LSTM of this GPU does not run in it; leave it at auto")


def lstm_format(precision: str, device: torch.device) -> torch.dtype | None:
    """The format of what an LSTM of so cast weights gives out; None if it refuses them."""
    dtype = HALF[precision]
    try:
        lstm = nn.LSTM(8, 8, batch_first=True).to(device, dtype)
        out, _ = lstm(torch.zeros(1, 2, 8, device=device, dtype=dtype))
    except RuntimeError:
        return None
    return out.dtype
