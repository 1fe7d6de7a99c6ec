"""The small models that the checks train, and how two of their runs are compared."""

import random
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine import devices
from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.snapshot import Snapshot
from tuitrain.errors import UsageError
from tuitrain.experiments.selftest.checks import Failed, first_line
from tuitrain.protocol.codec import plain
from tuitrain.run import checkpoints

FORMATS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Type of the output of a recurrent layer in each precision."""
ON_CPU = ("fp32", "bf16")
SMALL: dict[str, Any] = {"layers": 2, "hidden": 32, "embedding": 16, "batch_size": 4, "bptt": 16, "lr": 0.01,
                         "threads": 1, "warmup": 0, "clip": 1.0}


def choices(option: str) -> tuple[str, ...]:
    """Return the allowed values of a training option."""
    [spec] = [spec for spec in fields(Config) if spec.name == option]
    return tuple(spec.metadata["choices"])


class Small:
    """Small models on one device. `refused` has the precisions it cannot train in, each with the reason."""

    def __init__(self, device: str, steps: int) -> None:
        self.device, self.steps = device, steps
        self.cpu = devices.kind(device) == "cpu"
        self.text = _text()
        self.refused = dict(self._without())
        self.formats = [name for name in FORMATS if name not in self.refused]

    def machine(self, *, graph: bool = True, begin: Snapshot | None = None, device: str | None = None,
                 **options: Any) -> Machine:
        """Return a machine with a small model, captured where possible, restored to `begin` if given."""
        device = device or self.device
        # Dropout is reproducible on a CPU; on a GPU that is not promised.
        dropout = 0.2 if self.cpu else 0.0
        config = Config.of({**SMALL, "precision": "fp32", "dropout": dropout, **options, "device": device})
        machine = Machine(config, self.text, first_knobs(config))
        if begin is not None:
            machine.thaw(begin)
        if graph:
            machine.capture()
        return machine

    def learned(self, machine: Machine, steps: int) -> NDArray[np.float32]:
        """Train for this many steps and return their rows."""
        for _ in range(steps):
            machine.learn()
        return rows(machine, steps)

    def same(self, rows: NDArray[np.float32], end: Snapshot, machine: Machine, what: str) -> None:
        """Train and raise Failed unless rows and final state are the same as those given."""
        self.equal(rows, self.learned(machine, self.steps), what)
        state = machine.freeze().arrays()
        differing = [name for name, value in end.arrays().items() if not bits(value, state[name])]
        if differing:
            raise Failed(f"{what}: after the same steps {differing[0]} and {len(differing) - 1} more differ")

    def equal(self, a: NDArray[np.float32], b: NDArray[np.float32], what: str) -> str:
        """Return `what` in words; raise Failed unless two runs have the same rows."""
        if not bits(a, b):
            first = int(np.flatnonzero((a != b).any(1))[0])
            raise Failed(f"{what}: the numbers of step {first + 1} differ, the losses by up to "
                          f"{relative(a[:, 0], b[:, 0]):.1e} relatively")
        return f"{what}, bit for bit"

    def wait(self) -> None:
        """Wait until a GPU has done what was queued."""
        if not self.cpu:
            torch.cuda.synchronize()

    def _without(self) -> Iterator[tuple[str, str]]:
        """Yield (precision, reason) for those that this device cannot train in; fp32 is taken for granted."""
        for name in FORMATS.keys() - {"fp32"}:
            if name not in choices("precision"):
                yield name, "not offered"
            elif self.cpu and name not in ON_CPU:
                yield name, "not on a CPU"
            else:
                try:
                    self.machine(precision=name, graph=False).learn()
                except (RuntimeError, UsageError) as error:
                    yield name, f"not here: {first_line(error)}"


def _text() -> Corpus:
    """Return a corpus of random words; its letters do not matter."""
    draw = random.Random(5)
    words = ["the", "tide", "came", "late", "and", "nobody", "saw", "harbour", "bell", "rang", "twice"]
    text = " ".join(draw.choice(words) + draw.choice(["", "", ",", "."]) for _ in range(6000))
    return corpus.build("selftest", text, 0.1)


def rows(machine: Machine, steps: int) -> NDArray[np.float32]:
    """Return the newest rows: loss, norm and the other columns of the learner."""
    return machine.learner.rows.remembered(steps)


def saved(frozen: Snapshot) -> Snapshot:
    """Save a snapshot to a file and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        mark = checkpoints.save(Path(folder), frozen.arrays(), branch=0, step=frozen.step, reason="selftest",
                                pinned=False, values=plain(frozen.values))
        return snapshot_of(mark, checkpoints.load(Path(folder), mark))


def bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays are the same bit for bit."""
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the largest relative difference of two arrays."""
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-6)).max())
