"""Optimizers: state that is defined from the first step on, in the place where its optimizer reads it."""

import copy
import math

import pytest
import torch

from tests.conftest import TINY
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model import optimizers
from tuitrain.charlstm.model.network import CharRNN
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora


def model_with_gradients() -> CharRNN:
    torch.manual_seed(4)
    model = CharRNN(20, cell="lstm", layers=2, hidden=16, embedding=8, dropout=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def config(**options: object) -> Config:
    return Config.of({**TINY, "corpus": "x", **options})


def test_the_momentum_of_sgd_is_zero_if_its_first_step_is_withheld(text: str) -> None:
    c = config(optimizer="sgd", lr=0.1)
    machine = Machine(c, corpora.build("x", text, 0.1), first_knobs(c))
    buffers = machine.optimizer.tensors()
    assert len(buffers) == len(list(machine.model.parameters()))
    assert all(not tensor.any() for tensor in buffers.values())
    machine.learner.on_gradients = lambda: machine.model.head.weight.grad.fill_(math.nan)
    machine.learn()
    assert machine.learner.rows.remembered(1)[-1, 3] == 1
    assert all(not tensor.any() for tensor in machine.optimizer.tensors().values())


def test_zero_momentum_learns_what_torch_learns() -> None:
    ours, theirs = model_with_gradients(), model_with_gradients()
    optimizer = optimizers.make(config(optimizer="sgd", lr=0.1), ours)
    reference = torch.optim.SGD([p for _, members in theirs.groups() for p in members], 0.1, 0.9, fused=True)
    for _ in range(3):
        optimizer.step(torch.zeros(()))
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_each_part_keeps_its_step_counts_where_it_reads_them() -> None:
    """On a GPU Muon's second part is a fused Adam, which reads its counts there."""
    saved = {"0.0.momentum_buffer": torch.ones(64, 8), "1.0.step": torch.ones(()), "1.0.exp_avg": torch.ones(20, 8),
             "1.0.exp_avg_sq": torch.ones(20, 8)}
    with torch.device("meta"):
        model = CharRNN(20, cell="lstm", layers=1, hidden=16, embedding=8, dropout=0.0)
    optimizer = optimizers.make(config(optimizer="muon"), model)
    optimizer.restore(saved)
    live = optimizer.tensors()
    assert set(live) == set(saved)
    assert {tensor.device.type for tensor in live.values()} == {"meta"}


def test_counts_of_an_optimizer_that_is_not_fused_stay_on_the_host() -> None:
    with torch.device("meta"):
        weight = torch.nn.Parameter(torch.zeros(3))
    plain = optimizers.Optimizer([torch.optim.Adam([weight], 0.1)], on_device=False)
    plain.restore({"0.0.step": torch.ones(()), "0.0.exp_avg": torch.ones(3)})
    assert {name: t.device.type for name, t in plain.tensors().items()} == {"0.0.step": "cpu", "0.0.exp_avg": "meta"}


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_rmsprop_of_a_gpu_learns_what_torchs_learns(decay: float) -> None:
    ours, theirs = model_with_gradients(), model_with_gradients()
    mine = optimizers.DeviceRMSprop(ours.parameters(), torch.tensor(0.01), 0.95, 1e-8, decay)
    torchs = torch.optim.RMSprop(theirs.parameters(), 0.01, 0.95, 1e-8, decay, foreach=True)
    mine.found_inf = torch.zeros(())
    for _ in range(5):
        mine.step()
        torchs.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)
        assert torch.allclose(mine.state[a]["square_avg"], torchs.state[b]["square_avg"], rtol=1e-5)
        assert float(mine.state[a]["step"]) == 5


@pytest.mark.parametrize("kind", ["rmsprop", "muon"])
def test_a_step_withheld_on_the_device_moves_nothing(kind: str) -> None:
    model = model_with_gradients()
    if kind == "rmsprop":
        part: torch.optim.Optimizer = optimizers.DeviceRMSprop(model.parameters(), 0.01, weight_decay=0.1)
        optimizer = optimizers.Optimizer([part], on_device=True)
    else:
        made = optimizers.make(config(optimizer="muon", weight_decay=0.1), model)
        optimizer = optimizers.Optimizer(made.parts, on_device=True)
    optimizer.step(torch.zeros(()))
    before = copy.deepcopy([*model.parameters()])
    state = {name: t.clone() for name, t in optimizer.tensors().items()}
    for parameter in model.parameters():
        parameter.grad.fill_(math.nan)
    optimizer.step(torch.ones(()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert all(torch.equal(t, state[name]) for name, t in optimizer.tensors().items())


def test_muon_on_the_device_learns_what_muon_learns() -> None:
    ours, theirs = model_with_gradients(), model_with_gradients()
    away = optimizers.Optimizer(optimizers.make(config(optimizer="muon"), ours).parts, on_device=True)
    here = optimizers.make(config(optimizer="muon"), theirs)
    assert not here.on_device
    for _ in range(3):
        away.step(torch.zeros(()))
        here.step(torch.zeros(()))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
