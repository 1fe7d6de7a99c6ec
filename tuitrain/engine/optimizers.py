"""Optimizers by name, each with one interface: a learning rate, a step that can be withheld, named state.

Adam, AdamW, RMSprop and SGD are torch's. Muon (Keller Jordan 2024) orthogonalises the update of each gate of the
LSTM matrices; the other parameters get Adam. Knows nothing of schedules.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tuitrain.config import Config
from tuitrain.engine.model import CharLSTM

MUON_RATIO = 4.0
"""Muon's own learning rate over the knob's: at the auto preset's 5e-3 to 1e-2 that is Muon's usual 0.02 to 0.04."""


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per gate by five Newton-Schulz steps.

    Each parameter is [4 * hidden, n]: four gates stacked. torch's own Muon takes the stack as one matrix and works
    in bfloat16, which most CPUs only emulate.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95,
                 weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients as they are."""
        for group in self.param_groups:
            momentum, lr = group["momentum"], group["lr"]
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - momentum)
                update = parameter.grad.lerp(buffer, momentum)  # Nesterov
                gates = update.view(4, -1, update.shape[-1])
                direction = orthogonalised(gates) * max(1.0, gates.shape[-2] / gates.shape[-1]) ** 0.5
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.sub_(lr * direction.view_as(parameter))


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Each matrix of [..., rows, columns] moved towards its nearest orthogonal one (singular values .7 to 1.2)."""
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

    `withhold` (a float tensor on the device, 1 where the step must not happen) keeps weights, moments and step
    counts as they are: fused kernels honour it themselves as `found_inf`, the others ask the host.
    """

    def __init__(self, parts: list[tuple[torch.optim.Optimizer, float]], fused: bool) -> None:
        self.parts = parts
        self.fused = fused

    def set_lr(self, lr: float | Tensor) -> None:
        """`lr` is the rate in force; a part's own rate is a fixed ratio of it."""
        for part, ratio in self.parts:
            for group in part.param_groups:
                # The very tensor where it can be: a captured graph reads the rate from its address.
                group["lr"] = lr if ratio == 1.0 else lr * ratio

    def step(self, withhold: Tensor) -> None:
        """Update, or leave everything untouched where `withhold` is 1."""
        if not self.fused and withhold.item():
            return
        for part, _ in self.parts:
            if self.fused:
                # GradScaler's own hook; in torch the fused kernels read it from the optimizer.
                part.found_inf = withhold  # type: ignore[attr-defined]
                part.grad_scale = None  # type: ignore[attr-defined]
            part.step()

    @property
    def adaptive(self) -> bool:
        """Whether the LSTM's gradient is divided by a running mean of its square."""
        return isinstance(self.parts[0][0], torch.optim.Adam | torch.optim.RMSprop)

    def second_moment(self, parameter: nn.Parameter) -> tuple[Tensor, float, Tensor | float] | None:
        """(running mean of g^2 after the last step, its decay, what it was to be divided by before that step)."""
        optimizer = self.parts[0][0]
        state, group = optimizer.state.get(parameter, {}), optimizer.param_groups[0]
        if isinstance(optimizer, torch.optim.Adam) and "exp_avg_sq" in state:
            decay = float(group["betas"][1])
            return state["exp_avg_sq"], decay, 1 - decay ** (state["step"] - 1).clamp(min=1)
        if isinstance(optimizer, torch.optim.RMSprop) and "square_avg" in state:
            return state["square_avg"], float(group["alpha"]), 1.0
        return None

    def tensors(self) -> dict[str, Tensor]:
        """The live state tensors (moments, step counts) by name; empty before the first step."""
        return {f"{i}.{j}.{key}": value
                for i, (part, _) in enumerate(self.parts) for j, parameter in enumerate(_members(part))
                for key, value in part.state.get(parameter, {}).items() if isinstance(value, Tensor)}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Set the state in place. Absent tensors are zero, which is how each of these optimizers starts.

        Learning rate, betas and the like stay as they are now: they are knobs and configuration, never state.
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
            optimizer = self.parts[int(part)][0]
            parameter = _members(optimizer)[int(member)]
            # Step counts stay where the optimizer keeps them: on the host unless a fused kernel reads them.
            device = parameter.device if key != "step" or self.fused else torch.device("cpu")
            optimizer.state[parameter][key] = value.detach().to(device).clone()


def _members(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def make(config: Config, model: CharLSTM) -> Optimizer:
    """The optimizer that the configuration names, over the model's parameters."""
    parameters = [p for _, members in model.groups() for p in members]
    lr, decay = config.lr, config.weight_decay
    betas = (config.betas[0], config.betas[1])
    capturable = parameters[0].is_cuda
    match config.optimizer:
        case "adam":
            adam = torch.optim.Adam(parameters, lr, betas, config.eps, decay, fused=True, capturable=capturable)
            return Optimizer([(adam, 1.0)], fused=True)
        case "adamw":
            adamw = torch.optim.AdamW(parameters, lr, betas, config.eps, decay, fused=True, capturable=capturable)
            return Optimizer([(adamw, 1.0)], fused=True)
        case "sgd":
            sgd = torch.optim.SGD(parameters, lr, config.momentum, weight_decay=decay, fused=True)
            return Optimizer([(sgd, 1.0)], fused=True)
        case "rmsprop":
            rmsprop = torch.optim.RMSprop(parameters, lr, config.alpha, config.eps, decay, foreach=True)
            return Optimizer([(rmsprop, 1.0)], fused=False)
    matrices = [p for name, p in model.lstm.named_parameters() if name.startswith("weight")]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    muon = Muon(matrices, lr * MUON_RATIO, weight_decay=decay)
    return Optimizer([(muon, MUON_RATIO), (torch.optim.Adam(rest, lr, betas, config.eps, fused=True), 1.0)],
                     fused=False)
