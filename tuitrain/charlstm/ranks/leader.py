"""The machine of rank 0: whatever it does to the run, all processes do.

Only rank 0 knows commands, files, schedules and the clock. The others are told which batch to learn from and at which
rate, and are asked for their part of the state when it is copied.
"""

import dataclasses
import json
from typing import Any

import numpy as np
import torch

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model import capture as graphs
from tuitrain.charlstm.ranks.share import Share
from tuitrain.charlstm.ranks.state import CHECKSUM, RANDOM, draw_apart, gathered
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine.ranks.group import Group, Lost, Order, losing
from tuitrain.engine.ranks.state import drifted, packed
from tuitrain.engine.snapshot import Snapshot
from tuitrain.errors import UsageError
from tuitrain.knobs import Knobs

EAGER = "eager: a step of several processes is not captured"


class Leader(Machine):
    """A machine that all processes of a group train. Raises UsageError if they cannot share the batch."""

    def __init__(self, config: Config, corpus: Corpus, knobs: Knobs, group: Group) -> None:
        size = group.place.size
        if config.batch_size % size:
            raise UsageError(f"--batch-size {config.batch_size} cannot be shared evenly by {size} processes; take a "
                             f"multiple of {size}")
        self._group = group
        plan = {"config": dataclasses.asdict(config), "name": corpus.name, "vocabulary": corpus.vocabulary,
                "knobs": dataclasses.asdict(knobs), "device": torch.device(config.device).type}
        group.announce(Order.BUILD, then=lambda: self._hand_out(json.dumps(plan).encode(), corpus))
        super().__init__(config, corpus, knobs, Share(group.place))
        self.graph = EAGER
        group.announce(Order.MEET, then=lambda: self.ranks.extend(group.introduce(config.device)))
        if config.dropout:
            torch.manual_seed(config.seed)

    def capture(self, record: graphs.Recorder | None = None) -> None:
        """Leave the steps eager."""

    def learn(self) -> None:
        """One step of all processes."""
        where = self.cursor
        self._group.announce(Order.LEARN, (where.epoch, where.index, self.lr_in_force, self.knobs.clip))
        with losing():
            super().learn()

    def state(self) -> Snapshot:
        """As of `Machine`, with the hidden state of all rows and the random numbers of all processes."""
        parts: dict[str, list[torch.Tensor]] = {}
        self._group.announce(Order.FREEZE, then=lambda: parts.update(gathered(self, self._group)))
        _compare(parts.pop(CHECKSUM))
        mine = super().state()
        whole = {name: torch.stack(each) if name == RANDOM else torch.cat(each, 1).to(self.device)
                 for name, each in parts.items()}
        return dataclasses.replace(mine, tensors={**mine.tensors, **whole})

    def thaw(self, snapshot: Snapshot) -> None:
        """As of `Machine`, in all processes."""
        super().thaw(snapshot)
        block = packed(snapshot)
        self._group.announce(Order.THAW, then=lambda: self._group.hand_out(block))
        draw_apart(self, self._group, snapshot)

    @property
    def environment(self) -> dict[str, Any]:
        """As of `Machine`, with the number of processes."""
        return {**super().environment, "processes": self._group.place.size}

    def _hand_out(self, plan: bytes, corpus: Corpus) -> None:
        self._group.hand_out(plan)
        self._group.hand_out(np.ascontiguousarray(corpus.train).tobytes())


def _compare(checksums: list[torch.Tensor]) -> None:
    """Raise Lost if a process has other weights than rank 0."""
    if apart := drifted(checksums):
        raise Lost(f"process {', '.join(map(str, apart))} has other weights than process 0, so that the run cannot go "
                   "on from here; the last checkpoint was made before")
