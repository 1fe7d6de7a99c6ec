"""Makes a run out of one checkpoint, whoever wrote it: weights, Adam's moments and step count where they are there."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuitrain.autopsy.examination import Examined, Examiner
from tuitrain.autopsy.inquest import USUAL_LR
from tuitrain.autopsy.mapping import Unfit, fit
from tuitrain.autopsy.readers.reader import Adam, Entry, Unreadable
from tuitrain.autopsy.source import Source, Subject, open_source, subject_of
from tuitrain.autopsy.timeline import LEARNED
from tuitrain.charlstm import prepare
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start import building, opening
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.levels import NAMES, levels
from tuitrain.errors import CorpusError, RunError, UsageError
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import EngineSaid, RunResumed
from tuitrain.run import checkpoints
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal
from tuitrain.telemetry.units import LN2, number, percent

REASON = "adopted"
TFLEARN = {"loss": "last", "bptt": 30, "stride": 3, "batch_size": 128}
"""How TFLearn's example of a character LSTM is trained; its checkpoints do not say."""
MOMENTS = ("adam", "adamw")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that has been read and examined, and the options of the run that it can become."""

    entry: Entry
    subject: Subject
    weights: Mapping[str, Any]
    adam: Adam | None
    examined: Examined
    letters: float
    given: Mapping[str, Any]
    one_bias: bool
    """Whether its layers have one bias where torch's have two."""

    @property
    def broken(self) -> str:
        """What speaks against going on from it, empty if nothing does."""
        each = self.examined
        if each.loss is not None and each.loss < self.letters - LEARNED:
            return ""
        gates = f"{percent(each.saturation())} of the gates are at their ends" if each.layers else "it holds no numbers"
        loss = "not finite" if each.loss is None else f"{number(each.loss)} nats"
        return (f"{each.name} is no better than counting letters ({loss} against {number(self.letters)}; {gates}): it "
                "has learned nothing yet or is broken, and training on from it will hardly get better; `tuitrain "
                "autopsy` finds the last healthy one")


def consider(path: Path, text: Path | None, given: Mapping[str, Any], vocabulary: Path | None = None) -> Candidate:
    """Read and examine the checkpoint that a person named. Raises TuitrainError if it cannot become a run."""
    source, entry = named(path, vocabulary)
    if source.run is not None:
        step = "" if entry.step is None else f" --checkpoint {entry.step}"
        raise UsageError(f"{path} is of a run of ours: `tuitrain resume {source.run.path}{step}` goes on from it "
                         "exactly")
    try:
        stored = source.reader.read(entry)
        conversion = fit(stored)
    except Unreadable as error:
        raise RunError(str(error)) from None
    except Unfit as error:
        raise RunError(f"{entry.name}: {error}") from None
    if text is None:
        raise UsageError("which text? Give the one that the model was trained on, by --corpus FILE")
    recipe = dict(TFLEARN) if source.reader.loss == "last" else {}
    subject = subject_of(source, stored, conversion.model, text, {**recipe, **given})
    if corpus.load(text).vocabulary != subject.corpus.vocabulary:
        raise CorpusError(f"{text} has other characters than the vocabulary of the model; a run needs the text that "
                          "it was trained on")
    examiner = Examiner(subject)
    weights, adam = examiner.weights(stored)
    number_of = stored.step if stored.step is not None else entry.step
    examined = examiner.read(entry.name, number_of or 0, stored)
    model = subject.model
    options = {"lr_schedule": "constant", "warmup": 0, "weight_decay": 0.0, "optimizer": "adam",
               "betas": adam.betas if adam is not None else (0.9, 0.999), "lr": (adam.lr if adam else None) or USUAL_LR,
               **recipe, **given, "corpus": str(text), "cell": model.cell, "layers": model.layers,
               "hidden": model.hidden, "embedding": model.embedding}
    letters = levels(subject.corpus).get(NAMES[0], 0.0) * LN2
    one_bias = not any(part.theirs and ".bias_hh" in part.ours and part.turn(np.ones(1)).any()
                       for part in conversion.parts)
    return Candidate(entry, subject, weights, adam, examined, letters, options, one_bias)


def named(path: Path, vocabulary: Path | None = None) -> tuple[Source, Entry]:
    """Return the checkpoint of this path, which may be one of its files or what they begin with. Raises RunError."""
    source = open_source(path.parent, vocabulary)
    for entry in source.listing.entries:
        if path.name == entry.name or any(path.name == file.name for file in entry.files):
            return source, entry
    names = ", ".join(entry.name for entry in source.listing.entries[-3:])
    raise RunError(f"{path}: no checkpoint of that name; the last ones in {path.parent} are {names}")


def adopt(candidate: Candidate, run: RunDirectory, report: Callable[[str], None] = lambda words: None) -> list[str]:
    """Make the run in a new folder and return what is exact in it and what is not. Raises TuitrainError."""
    made = prepare.plan(candidate.given, report)
    run.create()
    lock = run.lock()
    try:
        machine = building.build(made.config, made.corpus)
        told = _install(machine, candidate)
        opened = opening.open_new(machine, run, (*made.remarks, *told), made.timed.compared, report)
        book = Journal(run.journal)
        book.write(opened.event)
        snapshot = machine.freeze()
        values = plain({**snapshot.values, "serial": 1, "branches": 1, "environment": machine.environment})
        mark = checkpoints.save(run.checkpoints, snapshot.arrays(), branch=0, step=snapshot.step, reason=REASON,
                                pinned=True, values=values, run=opened.id)
        book.write(EngineSaid(text=f"adopted from {candidate.entry.path.with_name(candidate.entry.name)}: "
                                   + "; ".join(told)))
        # So that the journal's branch 0 is at this step, as with any run that was interrupted there.
        book.write(RunResumed(branch=0, step=snapshot.step, checkpoint=mark.name, exact=False, why_not="adopted",
                              config=opened.event.config, vocabulary=opened.event.vocabulary, facts=opened.event.facts,
                              **machine.environment))
        book.close()
    except BaseException:
        run.discard()
        raise
    finally:
        lock.release()
    return told


def _install(machine: Machine, candidate: Candidate) -> list[str]:
    """Put weights and moments into a new machine and return what is exact and what is not, each in a sentence."""
    told = ["weights: exact"]
    with torch.no_grad():
        for name, parameter in machine.model.named_parameters():
            parameter.copy_(torch.from_numpy(candidate.weights[name]))
    adam, examined = candidate.adam, candidate.examined
    steps = examined.step
    if adam is None:
        told.append("Adam's moments: none in the checkpoint, they begin at zero")
    elif machine.config.optimizer not in MOMENTS:
        told.append(f"Adam's moments: not used by {machine.config.optimizer}")
    else:
        order = [name for member in machine.learner.gradients.parameters
                 for name, parameter in machine.model.named_parameters() if parameter is member]
        saved = {}
        for i, name in enumerate(order):
            saved[f"0.{i}.exp_avg"] = torch.from_numpy(adam.first[name])
            saved[f"0.{i}.exp_avg_sq"] = torch.from_numpy(adam.second[name])
            saved[f"0.{i}.step"] = torch.tensor(float(adam.steps))
        machine.optimizer.restore(saved)
        told.append(f"Adam's moments and its {adam.steps:,} steps: exact")
        if candidate.one_bias:
            told.append("biases: it has one where torch has two, so they move twice as far a step")
    told.append("not in the checkpoint: batch order, random numbers, dropout (--dropout), batch size, clip; the next "
                "steps are not those that its program would have taken")
    machine.progress = dataclasses.replace(machine.progress, step=steps)
    if examined.loss is not None and math.isfinite(examined.loss):
        # Until the run has losses of its own: what the checkpoint reads held-out text with.
        machine.progress.smooth_loss = examined.loss
    machine.cursor.skip(steps)
    return told
