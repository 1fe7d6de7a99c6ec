"""What a CUDA graph holds by its address stays where it is, whatever is done to a run: tested on a CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.conftest import Run
from tuitrain.charlstm.machine import Machine
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.specs import OPTIMIZERS

Start = Callable[..., Run]


def held(machine: Machine) -> dict[str, int]:
    """The addresses of weights, optimizer state, carried state, text, batch, knobs and rows."""
    learner = machine.learner
    tensors: dict[str, Tensor] = {name: p.data for name, p in machine.model.named_parameters()}
    tensors |= dict(machine.model.named_buffers()) | machine.optimizer.tensors()
    for owner in (learner, learner.rows):
        tensors |= {f"{type(owner).__name__}.{name}": t for name, t in vars(owner).items() if isinstance(t, Tensor)}
    tensors |= {f"hidden.{name}": t for name, t in zip(machine.model.cell.states, learner.hidden, strict=True)}
    return {name: t.data_ptr() for name, t in tensors.items()}


@pytest.mark.parametrize(("optimizer", "cell"), [*((name, "lstm") for name in OPTIMIZERS), ("muon", "gru")])
def test_nothing_that_a_graph_holds_moves(start: Start, optimizer: str, cell: str) -> None:
    run = start(optimizer=optimizer, cell=cell, dropout=0.1)
    run.to_step(12)
    before = held(run.machine)
    assert {"Learner._lr", "Learner._clip", "Learner._offsets", "Learner._ids", "Rows._ring", "hidden.h"} <= set(before)
    for kind, values in (
            (c.SetKnob, {"name": "lr", "value": 0.003}), (c.SetKnob, {"name": "clip", "value": 0.5}),
            (c.SetKnob, {"name": "clip", "value": "auto"}), (c.TakeSnapshot, {}), (c.Evaluate, {}), (c.LookInside, {}),
            (c.KeepBlackBox, {"onset": 11}), (c.DrawSample, {}), (c.SaveCheckpoint, {}),
            (c.Rollback, {"to": 10, "lr_factor": 0.5}), (c.Undo, {}), (c.Rollback, {"to": 10}),
            (c.Land, {"steps": 50})):
        answer = run.answer(kind, **values)
        assert not isinstance(answer, e.CommandRefused), answer
        run.to_step(run.machine.progress.step + 2)
        assert held(run.machine) == before, f"{kind.__name__} moved something"


def test_a_state_from_disk_goes_where_the_graph_looks(start: Start) -> None:
    run = start(optimizer="muon")
    run.to_step(12)
    frozen = run.machine.freeze()
    arrays = {name: torch.from_numpy(array.copy()) for name, array in frozen.arrays().items()}
    from_disk = Snapshot(0, 12, arrays, frozen.values)
    before = held(run.machine)
    run.to_step(15)
    run.machine.thaw(from_disk)
    assert held(run.machine) == before


def test_weights_put_in_place_of_the_models_own_would_be_noticed(start: Start) -> None:
    run = start()
    run.to_step(2)
    before = held(run.machine)
    run.machine.model.head.bias.data = run.machine.model.head.bias.data.clone()
    assert held(run.machine) != before
