"""The whole autopsy: every checkpoint examined in its order, the time line, the verdict, and how to go on."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuitrain.autopsy.examination import Examined, Examiner
from tuitrain.autopsy.mapping import Conversion, Unfit
from tuitrain.autopsy.readers.reader import Adam, Entry, Unreadable
from tuitrain.autopsy.results import Results
from tuitrain.autopsy.source import Source, Subject, first_readable, open_source, subject_of
from tuitrain.autopsy.timeline import Timeline, timeline
from tuitrain.autopsy.verdict import Verdict, verdict
from tuitrain.charlstm.text.levels import NAMES, levels
from tuitrain.errors import RunError
from tuitrain.protocol.findings import VerdictReached
from tuitrain.run import journal
from tuitrain.telemetry.units import LN2, number

USUAL_LR = 1e-3
"""Adam's own default: what to go on with where no checkpoint says which rate it was trained with."""
GENTLER = 0.25
"""The remedy of a live run: a quarter of the rate."""
DROPOUT = 0.5
"""What a model that overfits goes on with: the rate that is usual for recurrent layers."""
Report = Callable[[int, int, str], None]
"""Takes how many checkpoints are done, of how many, and the name of the next."""


@dataclass(frozen=True, slots=True)
class Autopsy:
    """Everything that was found. `unreadable` are (name, why) of checkpoints that were left out."""

    source: Source
    subject: Subject
    conversion: Conversion
    checkpoints: tuple[Examined, ...]
    unreadable: tuple[tuple[str, str], ...]
    letters: float
    """Loss of counting letters, nats per character."""
    line: Timeline
    verdict: Verdict
    command: str
    """What goes on from the last healthy one; empty if there is none."""
    levels: Mapping[str, float]
    remarks: tuple[str, ...] = field(default=())

    @property
    def last_healthy(self) -> Examined | None:
        """The newest checkpoint before training broke for good."""
        return None if self.line.last_healthy is None else self.checkpoints[self.line.last_healthy]

    @property
    def first_broken(self) -> Examined | None:
        """The first checkpoint that training did not come back from."""
        return None if self.line.first_broken is None else self.checkpoints[self.line.first_broken]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as one object of plain data."""
        judged, model = self.verdict.judgement, self.subject.model
        return {
            "folder": str(self.source.folder), "format": self.source.reader.title,
            "model": {"cell": model.cell, "layers": model.layers, "hidden": model.hidden, "embedding": model.embedding,
                      "characters": model.characters},
            "mapping": [{"from": theirs, "to": ours, "how": how} for theirs, ours, how in self.conversion.table()],
            "text": self.subject.corpus.name, "letters_alone": self.letters,
            "checkpoints": [_row(each) for each in self.checkpoints],
            "unreadable": [{"name": name, "why": why} for name, why in self.unreadable],
            "last_healthy": _named(self.last_healthy), "first_broken": _named(self.first_broken),
            "cause": judged.cause, "sentence": judged.sentence, "evidence": list(judged.evidence),
            "runner_up": judged.runner_up, "against": judged.against, "unsure": list(self.verdict.unsure),
            "command": self.command, "remarks": list(self.remarks)}


def perform(path: Path, corpus: Path | None, *, every: int = 1, vocabulary: Path | None = None,
            given: Mapping[str, Any] | None = None, report: Report = lambda done, of, name: None,
            take: Callable[[Examined], None] = lambda each: None) -> Autopsy:
    """Examine the checkpoints in a folder or of a run; those whose numbers are known are not read again.

    `take` is called with each as soon as it is examined. Every `every`-th counts, and the last. Raises RunError,
    CorpusError or UsageError where nothing can be done at all.
    """
    source = open_source(path, vocabulary)
    _, stored, conversion = first_readable(source)
    subject = subject_of(source, stored, conversion.model, corpus, given or {})
    entries = chosen(source.listing.entries, every)
    unreadable: list[tuple[str, str]] = []
    results = Results(path, subject)
    checkpoints = tuple(_examined(source, subject, entries, results, unreadable, report, take))
    if not checkpoints:
        raise RunError(f"none of the checkpoints in {path} can be read: {unreadable[0][1]}")
    counted = levels(subject.corpus)
    letters = counted.get(NAMES[0], 0.0) * LN2
    line = timeline(checkpoints, letters)
    adam = stored.adam
    betas = _betas(source, adam)
    found = verdict(checkpoints, line, letters, subject.model.cell, betas, tuple(_told(source)))
    command = _command(source, checkpoints, line, corpus, adam)
    return Autopsy(source, subject, conversion, checkpoints, tuple(unreadable), letters, line, found, command, counted,
                   (*source.remarks, *subject.remarks))


def chosen(entries: Sequence[Entry], every: int) -> list[Entry]:
    """Return every so-manieth checkpoint, counted back from the last, which always counts."""
    return list(entries[::-1][:: max(1, every)][::-1])


def _examined(source: Source, subject: Subject, entries: Sequence[Entry], results: Results,
              unreadable: list[tuple[str, str]], report: Report, take: Callable[[Examined], None]
              ) -> Iterator[Examined]:
    examiner: Examiner | None = None
    before: Entry | None = None
    taken: Entry | None = None
    """The checkpoint that the examiner compares the next one with."""
    for done, entry in enumerate(entries):
        report(done, len(entries), entry.name)
        found = results.find(entry, before)
        try:
            if found is None:
                examiner = examiner or Examiner(subject)
                if before is not None and taken is not before:
                    examiner.skip(source.reader.read(before))
                stored = source.reader.read(entry)
                step = stored.step if stored.step is not None else entry.step
                found = examiner.read(entry.name, done if step is None else step, stored)
                taken = entry
                results.keep(entry, before, found)
        except (Unreadable, Unfit) as error:
            unreadable.append((entry.name, str(error)))
            continue
        before = entry
        take(found)
        yield found
    report(len(entries), len(entries), "")


def _told(source: Source) -> Iterator[VerdictReached]:
    """Yield the verdicts on real trouble that the journal of a run of ours holds: they were drawn from every step."""
    if source.run is None:
        return
    try:
        for event, _ in journal.read(source.run.journal):
            if isinstance(event, VerdictReached) and event.alarming:
                yield event
    except (OSError, RunError):
        return


def _betas(source: Source, adam: Adam | None) -> tuple[float, float]:
    kept = source.kept.get("config", {}).get("betas")
    if isinstance(kept, list) and len(kept) == 2:
        return float(kept[0]), float(kept[1])
    return adam.betas if adam is not None else (0.9, 0.999)


def _command(source: Source, checkpoints: Sequence[Examined], line: Timeline, corpus: Path | None,
             adam: Adam | None) -> str:
    """Return what goes on from the last healthy checkpoint, gentler if training broke; from the best if it overfits."""
    at = line.best if line.overfits else line.last_healthy
    if at is None:
        return ""
    healthy = checkpoints[at]
    broke = line.first_broken is not None
    known = source.kept.get("config", {}).get("lr") or (adam.lr if adam is not None else None)
    lr = (float(known) * GENTLER if broke else float(known)) if known else USUAL_LR
    knobs = ["--lr", number(lr), "--clip", "auto"]
    if source.run is not None:
        words = ["tuitrain", "resume", str(source.run.path), "--checkpoint", str(healthy.step)]
        # Of what helps against overfitting a run can only turn its rate.
        words += knobs if broke else ["--lr", number(lr * GENTLER)] if line.overfits else []
    else:
        entry = next(each for each in source.listing.entries if each.name == healthy.name)
        words = ["tuitrain", "adopt", str(entry.path.with_name(entry.name)),
                 *(["--corpus", str(corpus)] if corpus is not None else []), *knobs,
                 *(["--dropout", str(DROPOUT)] if line.overfits else [])]
    return shlex.join(words)


def _named(each: Examined | None) -> dict[str, Any] | None:
    return None if each is None else {"name": each.name, "step": each.step}


def _row(each: Examined) -> dict[str, Any]:
    row = each.to_json()
    health = row.pop("health")
    return {**row, "gibberish": health.get("gibberish"), "words": health.get("words"), "health": health,
            "radius": max((float(layer["radius"]) for layer in each.layers), default=None),
            "worst": max((float(layer["worst"]) for layer in each.layers), default=None),
            "saturation": {f"{gate} {i + 1}": share for i, layer in enumerate(each.layers)
                           for gate, share in layer["saturation"].items()},
            "weight_norms": each.group_norms(),
            "distance": sum(value * value for value in each.moved.values()) ** 0.5 if each.moved else None}
