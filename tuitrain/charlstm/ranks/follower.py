"""Every rank but 0: does what is announced, knows no run folder, no command and no schedule."""

import dataclasses
import json

import numpy as np
import torch

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.ranks.share import Share
from tuitrain.charlstm.ranks.state import draw_apart, gathered
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine.ranks.group import Group, Order, losing
from tuitrain.engine.ranks.state import unpacked
from tuitrain.knobs import Knobs


def follow(group: Group) -> int:
    """Take part in the run until rank 0 ends it; returns the exit code. Raises Lost if rank 0 is gone."""
    machine: Machine | None = None
    while True:
        order, numbers = group.next_order()
        if order is Order.END:
            return int(numbers[0])
        if order is Order.BUILD:
            machine = _build(group)
            continue
        assert machine is not None, "rank 0 builds first"
        if order is Order.MEET:
            group.introduce(machine.config.device)
        elif order is Order.LEARN:
            epoch, index, lr, clip = numbers
            machine.cursor.restore({"epoch": epoch, "index": index})
            with losing():
                machine.learner.step(machine.cursor.next(), lr, clip)
        elif order is Order.FREEZE:
            gathered(machine, group)
        elif order is Order.THAW:
            snapshot = unpacked(group.receive())
            machine.thaw(snapshot)
            draw_apart(machine, group, snapshot)


def _build(group: Group) -> Machine:
    plan = json.loads(group.receive())
    train = np.frombuffer(group.receive(), dtype=np.uint32)
    cuda = plan["device"] == "cuda"
    config = dataclasses.replace(Config.of_run(plan["config"]),
                                 device=f"cuda:{group.place.local}" if cuda else "cpu")
    text = Corpus(plan["name"], plan["vocabulary"], train, len(train), "", ())
    machine = Machine(config, text, Knobs(**plan["knobs"]), Share(group.place))
    if config.dropout:
        torch.manual_seed(config.seed + group.place.rank)
    machine.start_training_thread()
    return machine
