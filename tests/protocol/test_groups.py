"""Names that mean something are known by one rule, and a foreign name that looks like them means nothing."""

import pytest

from tuitrain.diagnosis.memory import Memory
from tuitrain.protocol import events as e
from tuitrain.protocol import groups


@pytest.mark.parametrize("name", ["layers.0", "layer", "layer1", "layer 0", "layer 1.weight", "my layer 1"])
def test_only_a_recurrent_layer_is_one(name: str) -> None:
    assert not groups.is_layer(name)
    assert groups.is_layer(groups.layer(12))
    assert not groups.is_recurrent("W_ih 1") and groups.is_recurrent("W_hh 1")


@pytest.mark.parametrize(("group", "counted"), [(groups.layer(1), 1), ("layers", 0)])
def test_somebodys_own_layers_are_not_taken_for_the_lstm(group: str, counted: int) -> None:
    memory = Memory()
    memory.learned(e.StepsDone(branch=0, first_step=1, epoch=0.0, loss=(1.0,), grad_norm=(1.0,), every=1, clipped=(0,),
                               skipped=(0,), lr=(0.1,), clip=(0.0,), norms={group: (1.0,), "head": (1.0,)}, seconds=1))
    assert len(memory.shares) == counted
