"""Measures the cost of durability: journal, restore points and checkpoints, timed between the steps of one run.

Uses the intervals of the default configuration and the same functions; a checkpoint counts in full, although a thread
of its own writes it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tuitrain.charlstm import prepare
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.engine.reporter import FULL_RATE, PERIOD
from tuitrain.experiments.bench import Shape
from tuitrain.intervals import parse_every
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import StepsDone
from tuitrain.run import checkpoints
from tuitrain.run.journal import Journal


def durability(corpus: Path, shape: Shape, rounds: int,
               clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Return the share of training time per row, and the seconds of a step under `step`."""
    made = prepare.plan({"corpus": str(corpus), "layers": shape.layers, "hidden": shape.hidden, "device": "cpu",
                         "batch_size": shape.batch_size, "bptt": shape.bptt, "clip": 1.0})
    machine = Machine(made.config, made.corpus, first_knobs(made.config))
    numbers = (2.0123456,) * round(FULL_RATE * PERIOD)
    event = StepsDone(branch=0, first_step=100_000, epoch=1.5, loss=numbers, grad_norm=numbers, every=1,
                      clipped=(0,) * len(numbers), skipped=(0,) * len(numbers), lr=numbers, clip=numbers,
                      norms={name: numbers for name in machine.learner.gradients.names}, seconds=PERIOD)
    every = {name: parse_every(value) for name, value in (
        ("restore point", made.config.snapshot_every), ("checkpoint", made.config.checkpoint_every))}
    with tempfile.TemporaryDirectory() as folder:
        place, journal = Path(folder), Journal(Path(folder) / "journal.jsonl")

        def save() -> None:
            snapshot = machine.freeze()
            mark = checkpoints.save(place, snapshot.arrays(), branch=0, step=snapshot.step, reason="interval",
                                    pinned=False, values=plain(snapshot.values), before_commit=journal.sync)
            saved.append(mark)

        def copy() -> None:
            machine._frozen = None
            machine.freeze()

        saved: list[checkpoints.Checkpoint] = []
        acts: dict[str, Callable[[], None]] = {"journal": lambda: journal.write(event), "restore point": copy,
                                               "checkpoint": save}
        taken: dict[str, list[float]] = {name: [] for name in ("step", *acts)}
        for _ in range(rounds):
            for name, act in (("step", lambda: machine.learner.step(machine.cursor.next(), machine.lr_in_force, 1.0)),
                              *acts.items()):
                began = clock()
                act()
                taken[name].append(clock() - began)
            checkpoints.delete(place, saved.pop())
        journal.close()
    median = {name: statistics.median(times) for name, times in taken.items()}
    shares = {"step": median["step"], f"journal, every {PERIOD:g} s": median["journal"] / PERIOD}
    for name, (number, unit) in every.items():
        seconds = number if unit == "seconds" else number * median["step"]
        shares[f"{name}, every {seconds:.3g} s"] = median[name] / seconds
    return shares
