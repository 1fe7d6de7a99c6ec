"""Probes the inside of the model with a fixed held-out batch through frozen weights, forward and backward once.

There is no loop over time: the gates are recomputed from the outputs of each layer in one product (Karpathy, Johnson,
Fei-Fei 2015, 1506.02078, for saturation; Pascanu, Mikolov, Bengio 2013, 1211.5063, for the flow).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.cells import CELLS
from tuitrain.engine.snapshot import Snapshot

ROWS = 64
LONGEST = 64
"""Maximum characters of a row."""
SHARE = 0.01
"""Share of the training time that probes take."""
OPEN, SHUT, PINNED, DEAD = 0.9, 0.1, 0.97, 0.01
ROUNDS = 60
"""Number of products of the power method."""


def interval(config: Config, validation: int) -> int:
    """Return the steps between probes for them to take about `SHARE` of the time.

    A probe runs forward and backward without weight gradients in fp32; a step in bf16 takes half the time.
    """
    rows, length = shape(config, validation)
    cost = 0.8 * rows * length / (config.batch_size * config.bptt) + 0.5
    cost *= 2 if config.precision == "bf16" else 1
    return max(50, int(float(f"{cost / SHARE:.2g}")))


def shape(config: Config, validation: int) -> tuple[int, int]:
    """Return (rows, characters per row) of the probe's batch."""
    length = max(1, min(config.bptt, LONGEST, validation - 1))
    return max(1, min(ROWS, validation - length)), length


class Probe:
    """Measures snapshots; it draws no random number and does not affect training."""

    def __init__(self, config: Config, validation: NDArray[np.uint32], device: torch.device) -> None:
        self._config, self._device, self._cell = config, device, CELLS[config.cell]
        rows, length = shape(config, len(validation))
        starts = np.linspace(0, len(validation) - length - 1, rows).astype(np.int64)
        windows = validation[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        self._inputs = torch.from_numpy(windows[:, :-1].copy()).to(device)
        self._targets = torch.from_numpy(windows[:, 1:].copy()).to(device)
        self._layers: list[nn.RNNBase] = []

    def read(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return loss and entropy in nats per character, and a dict per layer; see `_layer`.

        All numbers are fetched from the device in one copy.
        """
        weights = {name: t.to(self._device) for name, t in snapshot.part("model").items()}
        table = weights.get("embedding.weight", torch.eye(len(weights["head.bias"]), device=self._device))
        x = F.embedding(self._inputs, table).requires_grad_()
        entered, left = [], []
        for layer in self._loaded(weights):
            entered.append(x)
            x, _ = layer(x)
            left.append(x)
        logits = F.linear(x, weights["head.weight"], weights["head.bias"]).float()
        flows = torch.autograd.grad(
            F.cross_entropy(logits[:, -1], self._targets[:, -1], reduction="sum"), entered)
        with torch.no_grad():
            counted = slice(-1, None) if self._config.loss == "last" else slice(None)
            chances = F.log_softmax(logits[:, counted], -1)
            loss = F.nll_loss(chances.flatten(0, 1), self._targets[:, counted].flatten())
            entropy = -(chances.exp() * chances).sum(-1).mean()
            rows = torch.stack([self._measure(i, weights, entered[i], left[i], flows[i]) for i in range(len(entered))])
            numbers = torch.cat([torch.stack([loss, entropy]), rows.flatten()]).cpu().numpy()
        return {"loss": float(numbers[0]), "entropy": float(numbers[1]),
                "layers": tuple(_layer(tuple(self._cell.spec.gates), row) for row in numbers[2:].reshape(rows.shape))}

    def _loaded(self, weights: dict[str, Tensor]) -> list[nn.RNNBase]:
        if not self._layers:
            with torch.random.fork_rng(devices=[]):  # initial weights would advance the generator that dropout uses
                for i in range(self._config.layers):
                    inputs = weights[f"{self._cell.name}.weight_ih_l{i}"].shape[1]
                    layer = self._cell.module(inputs, self._config.hidden, batch_first=True).to(self._device)
                    self._layers.append(layer.requires_grad_(False))
        for i, layer in enumerate(self._layers):
            for name, parameter in layer.named_parameters():
                parameter.copy_(weights[f"{self._cell.name}.{name[:-1]}{i}"])  # in place: cuDNN needs one block
        return self._layers

    def _measure(self, i: int, weights: dict[str, Tensor], x: Tensor, h: Tensor, flow: Tensor) -> Tensor:
        """Return the numbers that `_layer` reads, on the device."""
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
        cell, name = self._cell, self._cell.name
        recurrent = weights[f"{name}.weight_hh_l{i}"]
        parts = cell.before_gates(
            cell.by_gate(F.linear(x, weights[f"{name}.weight_ih_l{i}"], weights[f"{name}.bias_ih_l{i}"]), -1),
            cell.by_gate(F.linear(before, recurrent, weights[f"{name}.bias_hh_l{i}"]), -1))
        saturation = [_share((part.tanh().abs() > PINNED) if gate == cell.spec.candidate else
                             ((part.sigmoid() < SHUT) | (part.sigmoid() > OPEN))) for gate, part in parts.items()]
        norms = flow.float().norm(dim=-1)
        mean = norms.mean(0)
        profile = (mean / mean[-1].clamp(min=1e-30)).nan_to_num(0.0, 1e30)
        worst = (norms / norms[:, -1:].clamp(min=1e-30)).amax(1).max()
        single = [*saturation, _share(h.flatten(0, 1).std(0) < DEAD), recurrent.norm(),
                  spectral_radius(cell.by_gate(recurrent)[cell.spec.candidate]), worst]
        return torch.cat([torch.stack(single), profile])


def _layer(gates: tuple[str, ...], row: NDArray[np.float32]) -> dict[str, Any]:
    """saturation {gate: share at its ends}, dead (share of units that never move), recurrent_norm, radius
    (spectral, of the candidate block); flow: log10 of the mean gradient norm per time step over the last one's,
    first, peak and worst (highest peak of any example) in the same unit, memory (steps back with 1 % of it)."""
    saturation = {name: round(float(share), 4) for name, share in zip(gates, row, strict=False)}
    dead, norm, radius, worst = (float(v) for v in row[len(gates) : len(gates) + 4])
    profile = row[len(gates) + 4 :]
    far = np.flatnonzero(profile >= 0.01)
    return {"saturation": saturation, "dead": round(dead, 4), "recurrent_norm": norm, "radius": radius,
            "first": float(profile[0]), "peak": float(profile.max()), "worst": worst,
            "memory": len(profile) - 1 - int(far[0]) if len(far) else 0,
            "flow": [round(float(v), 2) for v in np.log10(np.maximum(profile, 1e-12))]}


def spectral_radius(matrix: Tensor) -> Tensor:
    """Return the largest absolute eigenvalue, within a few per cent, by the power method on a few vectors."""
    size = matrix.shape[0]
    start = np.random.default_rng(0).standard_normal((size, min(8, size)))
    vectors = torch.from_numpy(start).to(matrix.device, matrix.dtype)
    grown = torch.zeros((), device=matrix.device)
    for round_ in range(ROUNDS):
        vectors = matrix @ vectors
        norm = vectors.norm().clamp(min=1e-30)
        vectors = vectors / norm
        if round_ >= ROUNDS // 2:
            grown = grown + norm.log()
    return (grown / (ROUNDS - ROUNDS // 2)).exp()


def _share(flags: Tensor) -> Tensor:
    return flags.float().mean()
