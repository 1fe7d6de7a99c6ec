"""From what was asked to a run that is ready: the configuration sealed, the parts built. Done once, before a run."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuitrain.charlstm import footprint, repeats, runtime
from tuitrain.charlstm.asides.evaluations import Evaluations
from tuitrain.charlstm.asides.probes import Probes
from tuitrain.charlstm.asides.samples import Samples
from tuitrain.charlstm.config import INTERVALS, Config
from tuitrain.charlstm.looks.evaluator import SHARE, cost_in_steps
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model import precision
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.batches import fitted, make_cursor
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.charlstm.text.levels import levels
from tuitrain.engine import devices, environment
from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.promise import Promise
from tuitrain.engine.trainer import Trainer
from tuitrain.engine.worker import Worker
from tuitrain.errors import CheckpointError, CorpusError, Refused, UsageError
from tuitrain.intervals import parse_every
from tuitrain.knobs import Knobs
from tuitrain.protocol import codec
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.protocol.events import RunResumed, RunStarted
from tuitrain.run import checkpoints, index
from tuitrain.run.checkpoints import Retention
from tuitrain.run.directory import RunDirectory, new_id
from tuitrain.run.journal import Journal
from tuitrain.run.saver import Saver

FIRST_CLIP = 1.0
"""An automatic clip until the run has norms of its own to read it off."""
MANY = 1000
"""Characters of a vocabulary from which on they, not the LSTM, make the size of a model."""

@dataclass(frozen=True, slots=True)
class Plan:
    """A sealed configuration with the text it is for."""

    config: Config
    corpus: Corpus
    remarks: tuple[str, ...]
    timed: runtime.Choice
    """What the race of threads chose and promised."""


def plan(given: Mapping[str, Any], report: runtime.Report = lambda words: None) -> Plan:
    """Load the text, choose device, threads and precision, turn times into steps. Raises UsageError."""
    asked = Config.of(given)
    text = corpus.load(Path(asked.corpus), encoding=asked.encoding, errors=asked.errors, limit=asked.limit,
                       val=asked.val)
    report(f"{text.name}: {len(text.ids):,} characters")
    remarks = list(text.remarks)
    device = devices.pick(asked.device, remarks.append)
    config = Config.of(given, devices.kind(device))
    if len(text.vocabulary) > MANY:
        remarks.append(f"{len(text.vocabulary):,} distinct characters: "
                       f"{footprint.parameters(config, len(text.vocabulary)):,} parameters, about "
                       f"{footprint.needed(config, len(text.vocabulary)) / 1e9:.1f} GB of memory to train them")
    rows, bptt = fitted(config, text.split)
    if (rows, bptt) != (config.batch_size, config.bptt):
        remarks.append(f"the text is short: batches of {rows}x{bptt} instead of {config.batch_size}x{config.bptt}")
        config = dataclasses.replace(config, batch_size=rows, bptt=bptt)
    if device == "cpu" and config.graph == "on":
        raise UsageError("--graph on: only on an NVIDIA GPU is the step a CUDA graph; leave it at auto")
    config = dataclasses.replace(config, device=device, corpus=str(Path(config.corpus).resolve()),
                                 precision=runtime.pick_precision(config.precision, device))
    footprint.check(config, len(text.vocabulary), device)
    precision.check(config.precision, torch.device(device))
    report(f"{config.layers}x{config.hidden} LSTM of {footprint.parameters(config, len(text.vocabulary)):,} parameters")
    choice = runtime.choose(config, devices.kind(device), len(text.vocabulary), report)
    runtime.apply(choice.threads)
    return Plan(_sealed(config, text, choice), text, tuple(remarks), choice)


def _sealed(config: Config, text: Corpus, choice: runtime.Choice) -> Config:
    per_epoch = make_cursor(config, text.split).batches_per_epoch
    values: dict[str, Any] = {"threads": choice.threads, "precision": choice.precision}
    for name in INTERVALS:
        number, unit = parse_every(getattr(config, name))
        if unit == "seconds" and name == "checkpoint_every":
            continue  # kept as it is: how much may be lost is a matter of time, whatever a step takes
        if unit == "seconds":
            number = _round(number / choice.step_seconds)
        elif unit == "epoch":
            number = per_epoch
        elif unit == "auto":
            validation = len(text.ids) - text.split
            number = max(50.0, cost_in_steps(config, validation) / SHARE)
            # At the ends of epochs where that is about as often, so that the line of an epoch has its own loss.
            number = round(number / per_epoch) * per_epoch if per_epoch <= number <= 20 * per_epoch else _round(number)
        values[name] = max(1, int(number))
    if config.epochs:
        values["steps"] = max(1, round(config.epochs * per_epoch))
    elif config.minutes:
        values["steps"] = max(1, round(config.minutes * 60 / choice.step_seconds))
    return dataclasses.replace(config, **values)


def _round(number: float) -> int:
    """Two digits are enough for an interval that a person reads."""
    return int(float(f"{number:.2g}")) or 1


def start(made: Plan, run: RunDirectory, report: runtime.Report = lambda words: None) -> Worker:
    """A worker for a new run in an empty folder that the caller has created and locked."""
    config, text = made.config, made.corpus
    report("building the model")
    machine = Machine(config, text, first_knobs(config))
    kept: dict[str, Any] = {"v": codec.VERSION, "run": new_id(), "config": dataclasses.asdict(config),
                            "vocabulary": text.vocabulary, "corpus_name": text.name, "corpus_sha256": text.sha256}
    if len(text.ids) <= corpus.LARGEST_COPY:
        kept["corpus_bytes"] = corpus.save_copy(text, run.corpus)
    report("counting letters, pairs and triples")
    measured = levels(text)
    facts = _facts(machine, made.remarks, measured) | {"timed": made.timed.compared}
    run.write_config({**kept, "levels": measured, **environment.of(config)})
    opening = RunStarted(config=codec.plain(dataclasses.asdict(config)), vocabulary=text.vocabulary, facts=facts,
                         **environment.of(config))
    worker = _worker(machine, run, opening, str(kept["run"]))
    # A GPU's steps are given out before they are done, and what no race was trusted with was not promised.
    if machine.device.type == "cpu" and (key := made.timed.key):
        worker.trainer.promise = Promise(made.timed.step_seconds, lambda: runtime.forget(key))
    return worker


def resume(run: RunDirectory, *, steps: int | None, knobs: Mapping[str, Any], corpus_path: str | None,
           checkpoint: int | None = None) -> Worker:
    """A worker that goes on from the newest whole checkpoint, exactly. Raises TuitrainError."""
    kept, has_checksum = run.read_sealed_config()
    config = config_of(run, kept)
    text = _corpus_of(run, kept, config, corpus_path)
    changed: list[str] = []
    device = devices.again(config.device, changed.append)
    config = dataclasses.replace(config, device=device, precision=runtime.precision_on(device, config.precision),
                                 graph="auto" if device == "cpu" and config.graph == "on" else config.graph)
    footprint.check(config, len(text.vocabulary), device)
    precision.check(config.precision, torch.device(device))
    runtime.apply(int(config.threads))
    id = str(kept.get("run", ""))
    left = checkpoints.clean(run.checkpoints, id)
    mark, tensors, wrong = checkpoints.load_newest(run.checkpoints, checkpoint, run=id,
                                                   most=footprint.largest_checkpoint(config, len(text.vocabulary)))
    machine = Machine(config, text, first_knobs(config))
    _thaw(machine, run, mark, tensors)
    machine.remarks += [*changed, *(f"{message}; goes on from {mark.name}" for message in wrong), *left]
    if not has_checksum or not mark.run:
        machine.remarks.append("config.json and the checkpoints are of an older version and have no checksum of their "
                               "own; damage to them may go unnoticed")
    branches = _continue_line(machine, run, mark)
    opened = machine.progress.branch != mark.branch
    before = machine.knobs
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
    there = mark.facts.get("environment")  # older versions' marks have none
    why_not = _why_not_exact(there if isinstance(there, dict) else kept, config)
    opening = RunResumed(
        branch=machine.progress.branch, step=mark.step, checkpoint=mark.name, exact=not why_not, why_not=why_not,
        config=codec.plain(dataclasses.asdict(config)), vocabulary=text.vocabulary,
        facts={**_facts(machine, (), kept.get("levels", {})), "knobs_before": codec.plain(dataclasses.asdict(before)),
               "guard": mark.facts.get("guard_mode", config.on_divergence)},
        parent=machine.progress.parent if opened else None, **environment.of(config))
    serial = max(checkpoints.written(c) for c in checkpoints.list_all(run.checkpoints))
    return _worker(machine, run, opening, id, serial, mark.facts, branches)


def _worker(machine: Machine, run: RunDirectory, opening: RunStarted | RunResumed, id: str, serial: int = 0,
            facts: Mapping[str, Any] | None = None, branches: int = 1) -> Worker:
    config = machine.config
    book = Journal(run.journal)
    if book.torn:
        machine.remarks.append(f"the journal ended inside a line: its last {book.torn:,} bytes are in journal.torn")
    saver = Saver(run.checkpoints, Retention(last=config.keep), run=id, sync=book.sync)
    memory = footprint.snapshot_budget(config, len(machine.corpus.vocabulary))
    facts = facts or {}
    evaluations = Evaluations(machine, int(config.evaluate_every))
    evaluations.best = float(facts.get("best_val", "inf"))
    asides = (evaluations, Probes(machine, saver.home), Samples(machine, int(config.sample_every)))
    trainer = Trainer(machine, asides, saver, opening, snapshot_memory=memory, serial=serial,
                      snapshot_every=int(config.snapshot_every), checkpoint_every=config.checkpoint_every,
                      guard_mode=str(facts.get("guard_mode", config.on_divergence)),
                      # A resumed run keeps the steps that its minutes had become.
                      minutes=0.0 if isinstance(opening, RunResumed) else config.minutes)
    trainer.steering.branches = branches
    trainer.complete = evaluations.with_loss
    evaluations.on_best = lambda snapshot: trainer.saves.submit(snapshot, "best")
    common = trainer.saves.extra
    trainer.saves.extra = lambda: {**common(), "best_val": evaluations.best}
    return Worker(trainer, book)


def _thaw(machine: Machine, run: RunDirectory, mark: checkpoints.Checkpoint, tensors: checkpoints.Tensors) -> None:
    """Restore a checkpoint. Raises CheckpointError if it is whole and yet not one of this run's model."""
    try:
        machine.thaw(snapshot_of(mark, tensors))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{run.checkpoints / mark.name} does not fit the model of this run ({words}); name "
                              "another one with --checkpoint") from None


def _continue_line(machine: Machine, run: RunDirectory, mark: checkpoints.Checkpoint) -> int:
    """Open a branch if anything went beyond the checkpoint; returns the number of branches there are.

    What there is is counted from the journal, the marks and the names of files: any of them may be lost. So may the
    part of the journal that leads to the checkpoint, and then nobody knows how far its branch went: a new one too.
    """
    told = index.digest(run)
    marks = checkpoints.list_all(run.checkpoints)
    highest = max([machine.progress.branch, told.highest_branch, checkpoints.highest_branch(run.checkpoints),
                   *(int(m.facts.get("branches", 1)) - 1 for m in marks)])
    tip = told.tips.get(mark.branch, 0)
    if tip != mark.step or any(m.branch == mark.branch and m.step > mark.step for m in marks):
        progress = machine.progress
        progress.lineage.append([progress.branch, progress.step])
        progress.branch = highest = highest + 1
    return highest + 1


def config_of(run: RunDirectory, kept: Mapping[str, Any]) -> Config:
    """The sealed configuration of a run. Raises UsageError naming what is wrong with it."""
    try:
        return Config.of_run(kept["config"])
    except UsageError as error:
        raise UsageError(f"{run.path}: {error}") from None
    except KeyError:
        raise UsageError(f"{run.config} is damaged: it has no configuration") from None


def _corpus_of(run: RunDirectory, kept: Mapping[str, Any], config: Config, path: str | None) -> Corpus:
    if path is not None:
        text = corpus.load(Path(path), encoding=config.encoding, errors=config.errors, limit=config.limit,
                           val=config.val)
    elif os.path.lexists(run.corpus):
        size = kept.get("corpus_bytes")
        text = corpus.load_copy(run.corpus, str(kept.get("corpus_name", "corpus")), config.val, size)
    else:
        text = corpus.load(Path(config.corpus), encoding=config.encoding, errors=config.errors, limit=config.limit,
                           val=config.val)
    if text.sha256 != kept.get("corpus_sha256") or text.vocabulary != kept.get("vocabulary"):
        used = path or (run.corpus if os.path.lexists(run.corpus) else config.corpus)
        raise CorpusError(f"{used} is not the text this run was trained on (its sha256 differs); "
                          "name the right one with --corpus, or start a new run")
    return text


def _why_not_exact(before: Mapping[str, Any], config: Config) -> str:
    """What differs from where the checkpoint was written, in words; empty if nothing that matters does."""
    now = environment.of(config) | {"threads": runtime.threads_in_use()}
    differs = environment.differences(before, now)
    if not differs and devices.kind(config.device) == "cuda":
        if config.dropout:
            differs.append("dropout on CUDA keeps a state of its own")
        elif not repeats.shown(config.device, config.optimizer):
            differs.append(f"no `tuitrain selftest --device {config.device}` has shown yet that this GPU repeats "
                           f"{config.optimizer} bit for bit")
    return "; ".join(differs)


def first_knobs(config: Config) -> Knobs:
    """The knobs that a new run starts with."""
    automatic = isinstance(config.clip, str)
    return Knobs(lr=config.lr, clip=FIRST_CLIP if isinstance(config.clip, str) else config.clip, clip_auto=automatic,
                 temperature=config.temperature, prompt=config.prompt, steps=config.steps)


def _facts(machine: Machine, remarks: tuple[str, ...], measured: dict[str, float]) -> dict[str, Any]:
    text = machine.corpus
    return {"corpus": text.name, "characters": len(text.ids), "train": text.split,
            "validation": len(text.ids) - text.split,
            "parameters": sum(p.numel() for p in machine.model.parameters()),
            "knobs": codec.plain(dataclasses.asdict(machine.knobs)),
            "steps_per_epoch": machine.steps_per_epoch, "warmup": machine.schedule.warmup, "pid": os.getpid(),
            "remarks": list(remarks), "levels": measured, **EVERYTHING.to_facts()}
