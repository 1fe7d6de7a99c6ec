"""From what was asked to a run that is ready: the configuration sealed, the parts built. Done once, before a run."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tuitrain.config import INTERVALS, Config, parse_every
from tuitrain.engine import corpus, environment, footprint, runtime
from tuitrain.engine.batches import fitted, make_cursor
from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.corpus import Corpus
from tuitrain.engine.evaluation import SHARE, cost_in_steps
from tuitrain.engine.levels import levels
from tuitrain.engine.machine import Machine
from tuitrain.engine.trainer import Trainer
from tuitrain.engine.worker import Worker
from tuitrain.errors import CorpusError, Refused, UsageError
from tuitrain.knobs import Knobs
from tuitrain.protocol import codec
from tuitrain.protocol.events import RunResumed, RunStarted, StepsDone
from tuitrain.run import checkpoints, journal
from tuitrain.run.checkpoints import Retention
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal
from tuitrain.run.saver import Saver

FIRST_CLIP = 1.0
"""An automatic clip until the run has norms of its own to read it off."""
MANY = 1000
"""Characters of a vocabulary from which on they, not the LSTM, make the size of a model."""
LARGEST_COPY = 64 << 20
"""Characters up to which a run folder keeps its own copy of the text."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A sealed configuration with the text it is for."""

    config: Config
    corpus: Corpus
    remarks: tuple[str, ...]


def plan(given: Mapping[str, Any]) -> Plan:
    """Load the text, choose device, threads and precision, turn times into steps. Raises UsageError."""
    device = runtime.pick_device(str(given.get("device", "auto")))
    config = Config.of(given, device)
    text = corpus.load(Path(config.corpus), encoding=config.encoding, errors=config.errors, limit=config.limit,
                       val=config.val)
    remarks = list(text.remarks)
    if len(text.vocabulary) > MANY:
        remarks.append(f"{len(text.vocabulary):,} distinct characters: "
                       f"{footprint.parameters(config, len(text.vocabulary)):,} parameters, about "
                       f"{footprint.needed(config, len(text.vocabulary)) / 1e9:.1f} GB of memory to train them")
    rows, bptt = fitted(config, text.split)
    if (rows, bptt) != (config.batch_size, config.bptt):
        remarks.append(f"the text is short: batches of {rows}x{bptt} instead of {config.batch_size}x{config.bptt}")
        config = dataclasses.replace(config, batch_size=rows, bptt=bptt)
    config = dataclasses.replace(config, device=device, corpus=str(Path(config.corpus).resolve()))
    footprint.check(config, len(text.vocabulary), device)
    choice = runtime.choose(config, device, len(text.vocabulary))
    runtime.apply(choice.threads)
    return Plan(_sealed(config, text, choice), text, tuple(remarks))


def _sealed(config: Config, text: Corpus, choice: runtime.Choice) -> Config:
    per_epoch = make_cursor(config, text.split).batches_per_epoch
    values: dict[str, Any] = {"threads": choice.threads, "precision": choice.precision}
    for name in INTERVALS:
        number, unit = parse_every(getattr(config, name))
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


def start(made: Plan, run: RunDirectory) -> Worker:
    """A worker for a new run in an empty folder that the caller has created and locked."""
    config, text = made.config, made.corpus
    machine = Machine(config, text, first_knobs(config))
    if len(text.ids) <= LARGEST_COPY:
        corpus.save_copy(text, run.corpus)
    measured = levels(text)
    facts = _facts(machine, made.remarks, measured)
    run.write_config({"v": codec.VERSION, "config": dataclasses.asdict(config), "vocabulary": text.vocabulary,
                      "corpus_name": text.name, "corpus_sha256": text.sha256,
                      "levels": measured, **environment.of(config)})
    opening = RunStarted(config=codec.plain(dataclasses.asdict(config)), vocabulary=text.vocabulary, facts=facts,
                         **environment.of(config))
    return _worker(machine, run, opening)


def resume(run: RunDirectory, *, steps: int | None, knobs: Mapping[str, Any], corpus_path: str | None,
           checkpoint: int | None = None) -> Worker:
    """A worker that goes on from the newest whole checkpoint, exactly. Raises TuitrainError."""
    kept = run.read_config()
    config = _config_of(kept)
    text = _corpus_of(run, kept, config, corpus_path)
    device = runtime.pick_device("auto" if config.device == "cuda" else "cpu")
    why_not = _why_not_exact(kept, config, device)
    config = dataclasses.replace(config, device=device)
    if device == "cpu" and config.precision == "bf16" and not runtime.cpu_has_bf16():
        config = dataclasses.replace(config, precision="fp32")
    runtime.apply(int(config.threads))
    checkpoints.clean(run.checkpoints)
    mark, tensors, wrong = checkpoints.load_newest(run.checkpoints, checkpoint)
    machine = Machine(config, text, first_knobs(config))
    machine.thaw(snapshot_of(mark, tensors))
    machine.remarks += [f"{message}; the checkpoint before it is used" for message in wrong]
    branches = _continue_line(machine, run, mark)
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
    opening = RunResumed(
        branch=machine.progress.branch, step=mark.step, checkpoint=mark.name, exact=not why_not, why_not=why_not,
        config=codec.plain(dataclasses.asdict(config)), vocabulary=text.vocabulary,
        facts={**_facts(machine, (), kept.get("levels", {})),
               "guard": mark.facts.get("guard_mode", config.on_divergence)},
        **environment.of(config))
    serial = max(checkpoints.written(c) for c in checkpoints.list_all(run.checkpoints))
    return _worker(machine, run, opening, serial, mark.facts, branches)


def _worker(machine: Machine, run: RunDirectory, opening: RunStarted | RunResumed, serial: int = 0,
            facts: Mapping[str, Any] | None = None, branches: int = 1) -> Worker:
    config = machine.config
    saver = Saver(run.checkpoints, Retention(last=config.keep))
    memory = config.snapshot_memory << 20 or psutil.virtual_memory().total // 20
    trainer = Trainer(machine, saver, opening, snapshot_memory=memory, serial=serial)
    if facts is not None:
        trainer.evaluations.best = float(facts.get("best_val", "inf"))
        trainer.guard_mode = str(facts.get("guard_mode", trainer.guard_mode))
        trainer.steering.branches = branches
    return Worker(trainer, Journal(run.journal))


def _continue_line(machine: Machine, run: RunDirectory, mark: checkpoints.Checkpoint) -> int:
    """Open a branch if the journal has steps after the checkpoint; returns the number of branches there are."""
    beyond, highest = False, machine.progress.branch
    for event, _ in journal.read(run.journal):
        branch = getattr(event, "branch", None)
        if isinstance(branch, int):
            highest = max(highest, branch)
        if isinstance(event, StepsDone) and event.branch == mark.branch:
            beyond = beyond or event.first_step + len(event.loss) - 1 > mark.step
    if beyond:
        progress = machine.progress
        progress.lineage.append([progress.branch, progress.step])
        progress.branch = highest = highest + 1
    return highest + 1


def _config_of(kept: Mapping[str, Any]) -> Config:
    names = {spec.name for spec in dataclasses.fields(Config)}
    try:
        return Config(**{k: v for k, v in kept["config"].items() if k in names})
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"config.json is not one this version can read: {error}") from None


def _corpus_of(run: RunDirectory, kept: Mapping[str, Any], config: Config, path: str | None) -> Corpus:
    if path is not None:
        text = corpus.load(Path(path), encoding=config.encoding, errors=config.errors, limit=config.limit,
                           val=config.val)
    elif run.corpus.exists():
        text = corpus.load_copy(run.corpus, str(kept.get("corpus_name", "corpus")), config.val)
    else:
        text = corpus.load(Path(config.corpus), encoding=config.encoding, errors=config.errors, limit=config.limit,
                           val=config.val)
    if text.sha256 != kept.get("corpus_sha256"):
        raise CorpusError(f"{path or config.corpus} is not the text this run was trained on (its sha256 differs); "
                          "name the right one with --corpus, or start a new run")
    return text


def _why_not_exact(kept: Mapping[str, Any], config: Config, device: str) -> str:
    """What differs from where the run began, in words; empty if nothing that matters does."""
    if device != config.device:
        return f"began on {config.device}, goes on on {device}"
    if device == "cuda" and config.dropout:
        return "dropout on CUDA keeps a state of its own"
    then, now = kept.get("versions", {}), environment.versions()
    return "; ".join(f"{name} was {then.get(name)}, is {now[name]}" for name in ("torch", "cpu", "capability")
                     if then.get(name) != now[name])


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
            "remarks": list(remarks), "levels": measured}
