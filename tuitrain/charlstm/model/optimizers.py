"""Optimizers by name, with one interface: a learning rate, a step that can be withheld, state by name.

Adam, AdamW and SGD are torch's, and on a CPU RMSprop, too. Muon (Keller Jordan 2024) orthogonalises the update of each
gate of the recurrent layers' matrices; the other parameters get Adam. Knows nothing of schedules.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.network import CharRNN
from tuitrain.specs import OPTIMIZERS, check_declared

MUON_RATIO = 4.0
"""Muon's learning rate relative to the knob: at the auto preset's 5e-3 to 1e-2 this gives Muon's usual 0.02 to 0.04."""


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per gate by five Newton-Schulz steps, at `MUON_RATIO` times the learning rate.

    Each parameter is [gates * hidden, n]: the gates stacked. torch's own Muon takes the stack as one matrix and works
    in bfloat16, which most CPUs only emulate.
    """

    found_inf: Tensor | None = None
    """1 if the step must be withheld; read on the device."""

    def __init__(self, parameters: list[nn.Parameter], gates: int, lr: float, momentum: float = 0.95,
                 weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._gates = gates

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update from the current gradients."""
        withheld = self.found_inf
        for group in self.param_groups:
            momentum = group["momentum"]
            lr, gain = group["lr"] * MUON_RATIO, 1 - momentum
            if withheld is not None:
                lr, gain = lr * (1 - withheld), gain * (1 - withheld)
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                gradient = parameter.grad if withheld is None else _masked(parameter.grad, withheld)
                buffer.lerp_(gradient, gain)
                update = gradient.lerp(buffer, momentum)  # Nesterov
                gates = update.view(self._gates, -1, update.shape[-1])
                direction = orthogonalised(gates) * max(1.0, gates.shape[-2] / gates.shape[-1]) ** 0.5
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.sub_(lr * direction.view_as(parameter))


class DeviceRMSprop(torch.optim.RMSprop):
    """torch's RMSprop with a step that can be withheld on the device, without a host sync, so that it can be captured.

    On a CPU torch's own is used, because there a sync costs nothing and a mask would cost a pass over the gradients.
    """

    found_inf: Tensor | None = None
    """1 if the step must be withheld; read on the device."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update from the current gradients."""
        withheld = self.found_inf
        assert withheld is not None
        for group in self.param_groups:
            parameters = group["params"]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter] = {"step": torch.zeros((), device=parameter.device),
                                             "square_avg": torch.zeros_like(parameter)}
            squares = [self.state[p]["square_avg"] for p in parameters]
            gradients = [_masked(p.grad, withheld) for p in parameters]
            keep = 1 - withheld
            if group["weight_decay"]:
                torch._foreach_add_(gradients, torch._foreach_mul(parameters, group["weight_decay"] * keep))
            # Zero gradients change no weight; in addition the mean must not decay.
            torch._foreach_mul_(squares, 1 - (1 - group["alpha"]) * keep)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
            below = torch._foreach_sqrt(squares)
            torch._foreach_add_(below, group["eps"])
            torch._foreach_mul_(gradients, group["lr"])
            torch._foreach_addcdiv_(parameters, gradients, below, value=-1.0)
            # Without `alpha` torch picks the overload for a number, which fetches `keep` from the device.
            torch._foreach_add_([self.state[p]["step"] for p in parameters], keep, alpha=1)


def _masked(gradient: Tensor, withheld: Tensor) -> Tensor:
    """Return the gradient, or zeros if the step is withheld; a product would keep NaNs."""
    return torch.where(withheld > 0, torch.zeros((), device=gradient.device), gradient)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Move each matrix of [..., rows, columns] towards its nearest orthogonal one (singular values .7 to 1.2)."""
    a, b, c = 3.4445, -4.7750, 2.0315  # the quintic of Jordan 2024
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = x.shape[-2] > x.shape[-1]
    x = x.mT if wide else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if wide else x


class Optimizer:
    """One or two torch optimizers behind one learning rate.

    `withhold` (a float tensor on the device, 1 if the step must not happen) keeps weights, moments and step
    counts unchanged: with `on_device` the optimizers read it themselves as `found_inf`, else the host does.
    """

    def __init__(self, parts: list[torch.optim.Optimizer], *, on_device: bool) -> None:
        self.parts = parts
        self.on_device = on_device

    def set_lr(self, lr: float | Tensor) -> None:
        """Set the rate in force. A tensor is stored itself: a captured graph reads the rate from its address."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr

    def step(self, withhold: Tensor) -> None:
        """Make an update, or leave everything unchanged if `withhold` is 1."""
        if not self.on_device and withhold.item():
            return
        for part in self.parts:
            if self.on_device:
                # The interface of GradScaler: torch's fused kernels read it from the optimizer.
                part.found_inf = withhold  # type: ignore[attr-defined]
                part.grad_scale = None  # type: ignore[attr-defined]
            part.step()

    @property
    def adaptive(self) -> bool:
        """Whether the recurrent layers' gradient is divided by a running mean of its square."""
        return isinstance(self.parts[0], torch.optim.Adam | torch.optim.RMSprop)

    def second_moment(self, parameter: nn.Parameter) -> tuple[Tensor, float, Tensor | float] | None:
        """Return (running mean of g^2 after the last step, its decay, its bias correction before that step)."""
        optimizer = self.parts[0]
        state, group = optimizer.state.get(parameter, {}), optimizer.param_groups[0]
        if isinstance(optimizer, torch.optim.Adam) and "exp_avg_sq" in state:
            decay = float(group["betas"][1])
            return state["exp_avg_sq"], decay, 1 - decay ** (state["step"] - 1).clamp(min=1)
        if isinstance(optimizer, torch.optim.RMSprop) and "square_avg" in state:
            return state["square_avg"], float(group["alpha"]), 1.0
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the live state tensors (moments, step counts) by name; empty before the first step."""
        return {f"{i}.{j}.{key}": value
                for i, part in enumerate(self.parts) for j, parameter in enumerate(_members(part))
                for key, value in part.state.get(parameter, {}).items() if isinstance(value, Tensor)}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Restore the state in place. Absent tensors become zero, as at the start of all these optimizers.

        Learning rate, betas and the like stay as they are: they are knobs and configuration, not state.
        """
        live = self.tensors()
        for name, tensor in live.items():
            if name not in saved:
                tensor.zero_()
        for name, value in saved.items():
            if name in live:
                live[name].copy_(value)
                continue
            part, member, key = name.split(".", 2)
            optimizer = self.parts[int(part)]
            parameter = _members(optimizer)[int(member)]
            device = parameter.device if key != "step" or _steps_on_device(optimizer) else torch.device("cpu")
            optimizer.state[parameter][key] = value.detach().to(device).clone()


def _members(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _steps_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimizer keeps its step counts on the device, which is so if its kernel reads them."""
    group = optimizer.param_groups[0]
    return bool(group.get("fused") or group.get("capturable")) or isinstance(optimizer, DeviceRMSprop)


def make(config: Config, model: CharRNN) -> Optimizer:
    """Return the configured optimizer for the model's parameters."""
    parameters = [p for _, members in model.groups() for p in members]
    return BUILDERS[config.optimizer](config, model, parameters)


def _adam(kind: type[torch.optim.Adam], config: Config, parameters: list[nn.Parameter], decay: float) -> Any:
    return kind(parameters, config.lr, (config.betas[0], config.betas[1]), config.eps, decay, fused=True,
                capturable=parameters[0].is_cuda)


def _sgd(config: Config, parameters: list[nn.Parameter]) -> Optimizer:
    sgd = torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay, fused=True)
    if config.momentum:
        # torch creates the buffers in the first step, uninitialised, and they stay so if that step is withheld.
        for parameter in parameters:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return Optimizer([sgd], on_device=True)


def _rmsprop(config: Config, parameters: list[nn.Parameter]) -> Optimizer:
    numbers = (config.lr, config.alpha, config.eps, config.weight_decay)
    if parameters[0].device.type != "cpu":
        return Optimizer([DeviceRMSprop(parameters, *numbers)], on_device=True)
    return Optimizer([torch.optim.RMSprop(parameters, *numbers, foreach=True)], on_device=False)


def _muon(config: Config, model: CharRNN, parameters: list[nn.Parameter]) -> Optimizer:
    matrices = [p for name, p in model.rnn.named_parameters() if name.startswith("weight")]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    muon = Muon(matrices, len(model.cell.spec.gates), config.lr, weight_decay=config.weight_decay)
    return Optimizer([muon, _adam(torch.optim.Adam, config, rest, 0.0)], on_device=parameters[0].device.type != "cpu")


BUILDERS: dict[str, Callable[[Config, CharRNN, list[nn.Parameter]], Optimizer]] = {
    "adam": lambda config, model, all: Optimizer([_adam(torch.optim.Adam, config, all, config.weight_decay)],
                                                 on_device=True),
    "adamw": lambda config, model, all: Optimizer([_adam(torch.optim.AdamW, config, all, config.weight_decay)],
                                                  on_device=True),
    "sgd": lambda config, model, all: _sgd(config, all),
    "rmsprop": lambda config, model, all: _rmsprop(config, all),
    "muon": _muon,
}
check_declared("optimizers", OPTIMIZERS, BUILDERS)
