"""Measures some of the steps: weights, updates, gates, and the gradient relative to Adam's running average.

Everything is computed from what a step leaves behind, so the step itself is unaffected and can be a captured graph.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tuitrain.charlstm.model.gradients import Gradients
from tuitrain.charlstm.model.network import CharRNN
from tuitrain.charlstm.model.optimizers import Optimizer
from tuitrain.protocol.findings import Measured

EVERY = 5
"""Steps between measurements; each costs a few passes over the weights, at most 8 % of a step."""
LEAST = 1e-16


class Instruments:
    """Measures a step between `before` and `after`; `drain` returns the measurements."""

    def __init__(self, model: CharRNN, gradients: Gradients, optimizer: Optimizer) -> None:
        self._gradients, self._optimizer = gradients, optimizer
        self._parameters = [p.detach() for p in gradients.parameters]
        self._matrices = [(f"{kind} {layer + 1}", getattr(model.rnn, f"{name}_l{layer}"))
                          for layer in range(model.rnn.num_layers)
                          for kind, name in (("W_ih", "weight_ih"), ("W_hh", "weight_hh"))]
        self.groups = gradients.names
        self.matrices = [name for name, _ in self._matrices if optimizer.adaptive]
        self.gates = [f"{gate} {layer + 1}" for layer in range(model.rnn.num_layers)
                      for gate in model.cell.spec.gates]
        self._blocks = len(model.cell.spec.gates)
        self._old: list[Tensor] = []
        self._readings: list[tuple[int, Tensor]] = []

    def before(self) -> None:
        """Copy the weights before a step."""
        self._old = [p.clone() for p in self._parameters]

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Measure this step; nothing is fetched from the device yet."""
        weights = self._gradients.by_group(self._parameters)
        updates = self._gradients.by_group(list(torch._foreach_sub(self._parameters, self._old)))
        self._old = []
        parts = [weights, updates / weights.clamp(min=1e-30), *self._rms(), *self._gates()]
        self._readings.append((step, torch.cat(parts)))

    def forget(self) -> None:
        """Discard unreported measurements, after the run was moved to another step."""
        self._readings = []

    def drain(self, upto: int) -> tuple[list[int], dict[str, NDArray[np.float32]]]:
        """Return (steps, {weights, update_ratio, rms, gates: [readings, names]}) since the last call, up to a step."""
        due = [(step, row) for step, row in self._readings if step <= upto]
        if not due:
            return [], {}
        self._readings = self._readings[len(due):]
        steps = [step for step, _ in due]
        rows = torch.stack([row for _, row in due]).cpu().numpy()
        ends = np.cumsum([len(self.groups), len(self.groups), len(self.matrices)])
        return steps, dict(zip(("weights", "update_ratio", "rms", "gates"), np.split(rows, ends, axis=1), strict=True))

    def measured(self, branch: int, upto: int) -> Iterator[Measured]:
        """Yield the measurements up to a step that were not reported yet."""
        steps, read = self.drain(upto)
        if not steps:
            return
        names = {"weights": self.groups, "update_ratio": self.groups, "rms": self.matrices, "gates": self.gates}
        yield Measured(branch=branch, first_step=steps[0], every=EVERY, **{
            kind: {name: tuple(float(f"{v:.4g}") for v in read[kind][:, i]) for i, name in enumerate(members)}
            for kind, members in names.items()})

    def _rms(self) -> list[Tensor]:
        """Return sqrt(mean(g^2 / v)), v before this step (Wortsman et al. 2023, 2304.13013), g as used in it.

        v before the step follows from v after it, because the step was v' = b v + (1 - b) g^2.
        """
        found = []
        for _, parameter in self._matrices:
            moment = self._optimizer.second_moment(parameter)
            if moment is None or parameter.grad is None:
                continue
            after, decay, correction = moment
            squares = parameter.grad.square()
            then = ((after - (1 - decay) * squares) / decay / correction).clamp(min=LEAST)
            found.append((squares / then).mean().sqrt().view(1))
        return found if len(found) == len(self.matrices) else [torch.full((len(self.matrices),), torch.nan)]

    def _gates(self) -> list[Tensor]:
        shares = []
        for (_, inputs), (_, recurrent) in zip(self._matrices[::2], self._matrices[1::2], strict=True):
            assert inputs.grad is not None and recurrent.grad is not None
            squares = sum(p.grad.view(self._blocks, -1).square().sum(1) for p in (inputs, recurrent))
            assert isinstance(squares, Tensor)
            shares.append(squares / squares.sum().clamp(min=1e-30))
        return shares
