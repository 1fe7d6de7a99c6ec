"""Fifth stage: open the run: its folder, its opening event, its journal and its worker."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuitrain.charlstm import footprint, repeats
from tuitrain.charlstm.asides.evaluations import Evaluations
from tuitrain.charlstm.asides.probes import Probes
from tuitrain.charlstm.asides.samples import Samples
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.runtime import Report
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.levels import levels
from tuitrain.engine.trainer import Trainer
from tuitrain.engine.worker import Worker
from tuitrain.errors import Refused, UsageError
from tuitrain.protocol import codec
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.protocol.events import EPOCH, RunResumed, RunStarted
from tuitrain.run import checkpoints, index
from tuitrain.run.checkpoints import Retention
from tuitrain.run.directory import RunDirectory, new_id
from tuitrain.run.journal import Journal
from tuitrain.run.saver import Saver


@dataclass(frozen=True, slots=True)
class Opened:
    """The start of a worker. `serial` is that of the newest checkpoint, `values` are those of the resumed one,
    `branches` is the number of the run's branches."""

    event: RunStarted | RunResumed
    id: str
    serial: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    branches: int = 1


def open_new(machine: Machine, run: RunDirectory, remarks: Sequence[str], timed: str, report: Report) -> Opened:
    """Write the folder of a new run: the copy of the text and config.json. `timed` describes the race."""
    config, text = machine.config, machine.corpus
    kept: dict[str, Any] = {"v": codec.VERSION, "run": new_id(), "config": dataclasses.asdict(config),
                            "vocabulary": text.vocabulary, "corpus_name": text.name, "corpus_sha256": text.sha256}
    if len(text.ids) <= corpus.LARGEST_COPY:
        kept["corpus_bytes"] = corpus.save_copy(text, run.corpus)
    report("counting letters, pairs and triples")
    measured, environment = levels(text), machine.environment
    run.write_config({**kept, "levels": measured, **environment})
    facts = {**_facts(machine, measured), "remarks": list(remarks), "timed": timed}
    return Opened(RunStarted(config=codec.plain(dataclasses.asdict(config)), vocabulary=text.vocabulary, facts=facts,
                             **environment), str(kept["run"]))


def open_again(machine: Machine, run: RunDirectory, kept: Mapping[str, Any], mark: checkpoints.Checkpoint,
               steps: int | None, knobs: Mapping[str, Any], epochs: float | None = None) -> Opened:
    """Continue from checkpoint `mark`, to which the machine is restored, with other knobs or another end if given.

    `kept` is the content of config.json. Raises UsageError if a knob or `steps` is not valid.
    """
    config = machine.config
    branches = _continue_line(machine, run, mark)
    opened = machine.progress.branch != mark.branch
    before = machine.knobs
    _turn(machine, steps, knobs, epochs)
    written_in = mark.values.get("environment")  # older versions' marks have none
    why_not = repeats.why_not_exact(written_in if isinstance(written_in, dict) else kept, config,
                                     max(1, len(machine.ranks)))
    event = RunResumed(
        branch=machine.progress.branch, step=mark.step, checkpoint=mark.name, exact=not why_not, why_not=why_not,
        config=codec.plain(dataclasses.asdict(config)), vocabulary=machine.corpus.vocabulary,
        facts={**_facts(machine, kept.get("levels", {})), "knobs_before": codec.plain(dataclasses.asdict(before)),
               "guard": mark.values.get("guard_mode", config.on_divergence)},
        parent=machine.progress.parent if opened else None, **machine.environment)
    serial = max(checkpoints.written(c) for c in checkpoints.list_all(run.checkpoints))
    return Opened(event, str(kept.get("run", "")), serial, mark.values, branches)


def hand_over(machine: Machine, run: RunDirectory, opened: Opened, began: float | None = None) -> Worker:
    """Return the worker that trains, with the run's journal and saver open. Minutes count from `began`, monotonic."""
    config = machine.config
    book = Journal(run.journal)
    if book.torn:
        machine.remarks.append(f"the journal ended within a line; the {book.torn:,} bytes are now in journal.torn")
    retention = Retention(last=config.keep, epochs=config.checkpoint_every == EPOCH)
    saver = Saver(run.checkpoints, retention, run=opened.id, sync=book.sync)
    evaluations = Evaluations(machine, int(config.evaluate_every))
    evaluations.restore(opened.values)
    asides = (evaluations, Probes(machine, saver.home), Samples(machine, config.sample_every))
    trainer = Trainer(machine, asides, saver, opened.event, serial=opened.serial,
                      snapshot_memory=footprint.snapshot_budget(config, len(machine.corpus.vocabulary)),
                      snapshot_every=config.snapshot_every, checkpoint_every=config.checkpoint_every,
                      guard_mode=str(opened.values.get("guard_mode", config.on_divergence)),
                      # A resumed run keeps the steps that its minutes were turned into.
                      minutes=0.0 if isinstance(opened.event, RunResumed) else config.minutes, began=began)
    trainer.steering.branches = opened.branches
    trainer.graph_before = str((opened.values.get("environment") or {}).get("graph", ""))
    trainer.complete = evaluations.with_loss
    evaluations.on_best = lambda snapshot: trainer.saves.submit(snapshot, "best")
    common = trainer.saves.extra
    trainer.saves.extra = lambda: {**common(), **evaluations.to_values()}
    return Worker(trainer, book)


def _turn(machine: Machine, steps: int | None, knobs: Mapping[str, Any], epochs: float | None = None) -> None:
    """Set the knobs and the end given to `resume`. Raises UsageError."""
    if epochs is not None:
        if steps is not None:
            raise UsageError("--steps and --epochs each set the end: give one of them")
        steps = max(1, round(epochs * machine.steps_per_epoch))
        if steps < machine.progress.step:
            raise UsageError(f"--epochs {epochs:g}: the run is in epoch {machine.cursor.epochs_done:.2f} already; "
                             "--epochs is the absolute last epoch")
    if steps is not None:
        if steps and steps < machine.progress.step:
            raise UsageError(f"--steps {steps}: the run is at step {machine.progress.step} already; --steps is the "
                             "absolute last step")
        machine.knobs = dataclasses.replace(machine.knobs, steps=steps)
    try:
        for name, value in knobs.items():
            machine.knobs = machine.knobs.turned(name, value)
    except Refused as refusal:
        raise UsageError(str(refusal)) from None


def _continue_line(machine: Machine, run: RunDirectory, mark: checkpoints.Checkpoint) -> int:
    """Open a branch if the run went beyond the checkpoint; return the number of branches.

    Branches are counted from the journal, the marks and the file names, because any of them may be lost. If the part of
    the journal that leads to the checkpoint is lost, it is unknown how far its branch went, and a new one is opened.
    """
    digest = index.digest(run)
    marks = checkpoints.list_all(run.checkpoints)
    highest = max([machine.progress.branch, digest.highest_branch, checkpoints.highest_branch(run.checkpoints),
                   *(int(m.values.get("branches", 1)) - 1 for m in marks)])
    tip = digest.tips.get(mark.branch, 0)
    if tip != mark.step or any(m.branch == mark.branch and m.step > mark.step for m in marks):
        progress = machine.progress
        progress.lineage.append([progress.branch, progress.step])
        progress.branch = highest = highest + 1
    return highest + 1


def _facts(machine: Machine, measured: Any) -> dict[str, Any]:
    text = machine.corpus
    return {"corpus": text.name, "characters": len(text.ids), "train": text.split,
            "validation": len(text.ids) - text.split,
            "parameters": sum(p.numel() for p in machine.model.parameters()),
            "knobs": codec.plain(dataclasses.asdict(machine.knobs)),
            "steps_per_epoch": machine.steps_per_epoch, "warmup": machine.schedule.warmup, "pid": os.getpid(),
            "ranks": machine.ranks,
            "remarks": [], "levels": measured, **EVERYTHING.to_facts()}
