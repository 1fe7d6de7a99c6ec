"""Drills: injects a fault into a short healthy run and records what analyst and guard do. Results are plain data."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuitrain.charlstm import prepare
from tuitrain.diagnosis.analyst import Analyst
from tuitrain.diagnosis.guard import Guard
from tuitrain.engine.trainer import Trainer
from tuitrain.engine.worker import Worker
from tuitrain.experiments.faults import FAULTS, HEALTHY, Fault
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.run.directory import RunDirectory

SMALL: dict[str, Any] = {
    "layers": 1, "hidden": 64, "embedding": 32, "batch_size": 32, "bptt": 32, "lr": 6e-3, "threads": 1,
    "precision": "fp32", "device": "cpu", "sample_every": 10**6, "evaluate_every": 250, "checkpoint_every": 10**6,
    "snapshot_every": 100, "lr_schedule": "constant", "warmup": 0, "betas": (0.9, 0.999)}
SITTING: dict[str, Any] = {"hidden": 128, "batch_size": 64, "sample_every": 600, "evaluate_every": 500}
"""Added to it where a person watches: slow enough for the eye, with samples to read and few log entries."""
DRAIN = 10
"""Steps per report, fixed so that findings do not depend on the speed of the machine."""
HEALTHY_STEPS, AFTER, LEARNED_AFTER = 1200, 600, 2200


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one drill: `cause` is that of the verdict, empty without one; losses in nats, None if not measured.

    `delay` counts steps from the fault to the first alarm or verdict; `early` the verdicts and alarms before the fault.
    """

    fault: str
    seed: int
    right: tuple[str, ...]
    cause: str
    rule: str
    delay: int | None
    early: int
    hit: bool
    val_before: float | None
    val_after: float | None
    rollbacks: int
    warnings: tuple[str, ...]
    evidence: tuple[str, ...]


def run(fault: Fault, corpus: Path, seed: int, *, guard: str = "warn", after: int = AFTER, at: int = 0,
        report: Callable[[int, int], None] = lambda step, last: None, **options: Any) -> Outcome:
    """Run one drill to its end and return its outcome; unless `at` is given, the seed decides the step of the fault.

    `report` is called with the current step and the last one.
    """
    rng = np.random.default_rng((seed, 77))
    at = at or (1 if fault.from_start else HEALTHY_STEPS + int(rng.integers(0, 200)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = worker_of(fault, corpus, seed, RunDirectory(Path(folder) / "run"), guard, **options).trainer
        trainer.reporter.longest = DRAIN
        fault.inject(trainer, at, rng)
        last = LEARNED_AFTER if fault.from_start else at + after
        events = list(_watched(trainer, Analyst(), Guard(guard), last, report))
    return _judged(fault, seed, at, events)


def worker_of(fault: Fault, corpus: Path, seed: int, folder: RunDirectory, guard: str, **options: Any) -> Worker:
    """Return the worker of a drill, with a run in a folder of its own, not started yet."""
    folder.create()
    return prepare.start(prepare.plan({**SMALL, **options, **fault.options, "corpus": str(corpus), "seed": seed,
                                       "on_divergence": guard}), folder)


def _watched(trainer: Trainer, analyst: Analyst, guard: Guard, last: int,
             report: Callable[[int, int], None]) -> Iterator[e.Event]:
    for event in trainer.run():
        report(trainer.machine.progress.step, last)
        for each in (event, *analyst.consider(event)):
            yield each
            for command in (*guard.react(each), *guard.tick()):
                trainer.orders.inbox.put(command)
        if trainer.machine.progress.step >= last and not isinstance(event, e.RunEnded):
            trainer.orders.inbox.put(c.Stop(id="", by="drill"))


def _judged(fault: Fault, seed: int, at: int, events: list[e.Event]) -> Outcome:
    verdicts = [x for x in events if isinstance(x, f.VerdictReached)]
    alarms = [x for x in events if isinstance(x, f.AlarmRaised)]
    late = [x for x in verdicts if x.step >= at]
    verdict = next((x for x in late if x.alarming), late[0] if late else None)
    first = min([x.step for x in alarms if x.step >= at] + [x.step for x in late], default=None)
    losses = [(x.step, x.loss) for x in events if isinstance(x, e.Evaluated) and not x.part]
    before = [loss for step, loss in losses if step < at]
    early = sum(x.step < at for x in alarms) + sum(x.step < at for x in verdicts)
    cause = verdict.cause if verdict else ""
    hit = (cause in fault.right if fault.right else not cause) and not early
    return Outcome(
        fault.name, seed, fault.right, cause, next((x.rule for x in alarms if x.step >= at), ""),
        None if first is None else first - at, early, hit,
        min(before, default=None), losses[-1][1] if losses else None,
        sum(isinstance(x, e.RolledBack) for x in events),
        tuple(x.rule for x in events if isinstance(x, f.WarningRaised)), verdict.evidence if verdict else ())


def gallery(names: tuple[str, ...]) -> Mapping[str, Fault]:
    """Return the faults of these names, or all faults and healthy runs."""
    everything = {**FAULTS, **HEALTHY}
    return {name: everything[name] for name in names} if names else everything


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return hits, the confusion matrix {fault: {cause: count}}, the median delay in steps and false alarms."""
    matrix: dict[str, dict[str, int]] = {}
    for x in outcomes:
        row = matrix.setdefault(x.fault, {})
        row[x.cause or "nothing"] = row.get(x.cause or "nothing", 0) + 1
    broken = [x for x in outcomes if x.right]
    delays = [x.delay for x in broken if x.delay is not None and x.fault in FAULTS and FAULTS[x.fault].sudden]
    return {"matrix": matrix, "hits": sum(x.hit for x in broken), "of": len(broken),
            "false": sum(not x.hit for x in outcomes if not x.right) + sum(x.early for x in broken),
            "healthy": sum(not x.right for x in outcomes),
            "delay": float(np.median(delays)) if delays else None, "outcomes": [asdict(x) for x in outcomes]}
