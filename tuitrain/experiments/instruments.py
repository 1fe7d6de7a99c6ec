"""Measures the cost of each instrument as a share of a training step, timed in turn between the steps of one run."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuitrain.charlstm import prepare
from tuitrain.charlstm.looks.instruments import EVERY
from tuitrain.charlstm.looks.probe import Probe, interval
from tuitrain.charlstm.looks.sample_health import SampleHealth
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.diagnosis.analyst import Analyst
from tuitrain.experiments.bench import Shape
from tuitrain.protocol.events import StepsDone

BATCH = 50
"""Steps passed to the analyst in one event."""


def costs(corpus: Path, shape: Shape, rounds: int) -> dict[str, float]:
    """Return the seconds of a step under `step`, and for each instrument the share of a step that it takes on average.

    `sample tables` are the seconds that these take once.
    """
    made = prepare.plan({"corpus": str(corpus), "layers": shape.layers, "hidden": shape.hidden, "device": "cpu",
                         "batch_size": shape.batch_size, "bptt": shape.bptt, "clip": 1.0})
    machine = Machine(made.config, made.corpus, first_knobs(made.config))
    probe = Probe(made.config, made.corpus.validation, machine.device)
    batch = machine.cursor.next

    def step() -> None:
        machine.learner.step(batch(), machine.lr_in_force, 1.0)

    for _ in range(3):
        step()
    analyst, analysed = Analyst(), [0]

    def analyse() -> None:
        analysed[0] += BATCH
        losses = tuple(2.0 + 0.1 * math.sin(i) for i in range(BATCH))
        for _ in analyst.consider(StepsDone(
                branch=0, first_step=analysed[0], epoch=0.1, loss=losses, grad_norm=losses, every=1, clipped=(),
                skipped=(), lr=(), clip=(), norms={}, seconds=1.0)):
            pass

    def streams() -> None:
        rows = machine.learner.rows
        rows._streams.index_copy_(0, rows._next, rows._streams[:1].clone())

    def probed() -> None:
        probe.read(machine.freeze())
        machine._frozen = None

    rows: dict[str, tuple[Callable[[], Any], float]] = {
        "norm per group, every step": (machine.learner.gradients.norms, 1),
        "loss per stream, every step": (streams, 1),
        f"weights, updates, gates, g²/v, every {EVERY}": (lambda: _reading(machine), EVERY),
        f"probe, every {interval(made.config, len(made.corpus.validation)):,}": (
            probed, interval(made.config, len(made.corpus.validation))),
        "analyst, every step": (analyse, BATCH)}
    taken: dict[str, list[float]] = {name: [] for name in ("step", *rows)}
    for _ in range(rounds):
        taken["step"].append(_timed(step))
        for name, (act, _) in rows.items():
            taken[name].append(_timed(act))
    seconds = statistics.median(taken["step"])
    text = corpora.decode(made.corpus.train, made.corpus.vocabulary)
    found = {"step": seconds, "sample tables": _timed(lambda: SampleHealth(text, text[-50_000:]))}
    return found | {name: statistics.median(taken[name]) / every / seconds for name, (_, every) in rows.items()}


def _reading(machine: Machine) -> None:
    machine.instruments.before()
    machine.instruments.after(1)
    machine.instruments.drain(1)


def _timed(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
