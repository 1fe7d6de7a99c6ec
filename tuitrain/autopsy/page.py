"""The report of an autopsy as one HTML page with plots; nothing in it is loaded from elsewhere. Needs matplotlib."""

import html
import importlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.inquest import Autopsy
from tuitrain.autopsy.report import COLUMNS, headline, row, shown
from tuitrain.errors import UsageError
from tuitrain.run.directory import write_atomically
from tuitrain.telemetry.units import safe

SIZE = (9.0, 2.6)
"""Inches of a plot, at 72 points each."""
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884 } td.name { text-align: left }
tr.healthy { background: #2a92 } tr.broken { background: #c332 }
pre { white-space: pre-wrap; background: #8881; padding: .8rem; overflow-wrap: anywhere }
.samples { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem } figure { margin: 1rem 0; background: #fff }
svg { width: 100%; height: auto }
"""


def check(path: Path) -> None:
    """Raise UsageError if the page could not be written: before the work, not after it."""
    _matplotlib()
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise UsageError(f"--html {path}: name a file in a folder that exists")


def write(path: Path, found: Autopsy) -> None:
    """Write the page. Raises UsageError if that fails."""
    try:
        write_atomically(path.resolve(), "".join(_page(found)).encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"--html {path}: {error.strerror or error}") from None


def _page(found: Autopsy) -> Iterator[str]:
    judged = found.verdict.judgement
    title = _text(f"{found.source.folder.name}: {headline(found)}")
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head>\n<body><h1>{_text(headline(found))}</h1>\n"
    yield (f"<p>{len(found.checkpoints)} checkpoints of {_text(found.source.reader.title)} in "
           f"{_text(str(found.source.folder))}; {_text(found.subject.model.words)}; text: "
           f"{_text(found.subject.corpus.name)}</p>\n")
    yield f"<h2>Cause: {_text(judged.cause.replace('_', ' '))}</h2><p>{_text(judged.sentence)}</p>\n<ul>"
    yield from (f"<li>{_text(words)}</li>" for words in judged.evidence)
    yield "</ul>\n"
    if judged.runner_up:
        yield (f"<p>Runner-up: {_text(judged.runner_up.replace('_', ' '))}; against it: {_text(judged.against)}</p>\n")
    yield from (f"<p>Cannot be told from files: {_text(words)}.</p>\n" for words in found.verdict.unsure)
    if found.command:
        yield f"<p>To go on:</p><pre>{_text(found.command)}</pre>\n"
    for plot in _plots(found):
        yield f"<figure>{plot}</figure>\n"
    yield from _table(found)
    pair = (found.last_healthy, "last healthy"), (found.first_broken, "first broken")
    samples = [(each, kind) for each, kind in pair if each is not None]
    if samples:
        yield '<h2>Samples of the same seed</h2><div class="samples">'
        yield from (f"<div><h3>{_text(each.name)} ({kind})</h3><pre>{_text(each.sample)}</pre></div>"
                    for each, kind in samples)
        yield "</div>\n"
    yield "<h2>What became what</h2><table>"
    yield from (f'<tr><td class="name">{_text(theirs)}</td><td class="name">{_text(ours)}</td><td class="name">'
                f"{_text(how)}</td></tr>" for theirs, ours, how in found.conversion.table())
    yield "</table>\n"
    notes = [*found.remarks, *(f"left out: {name}: {why}" for name, why in found.unreadable)]
    yield from (f"<p>Note: {_text(words)}</p>\n" for words in notes)
    yield "</body></html>\n"


def _table(found: Autopsy) -> Iterator[str]:
    yield "<h2>Checkpoints</h2><table><tr>" + "".join(f"<th>{_text(name)}</th>" for name in COLUMNS[1:]) + "</tr>\n"
    kinds = {found.line.last_healthy: "healthy", found.line.first_broken: "broken"}
    for i in shown(found, 500):
        each = found.checkpoints[i]
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in (f"{each.step:,}", *row(each)))
        yield f'<tr class="{kinds.get(i, "")}"><td class="name">{_text(each.name)}</td>{cells}</tr>\n'
    yield "</table>\n"


def _plots(found: Autopsy) -> Iterator[str]:
    known = [each for each in found.checkpoints if each.loss is not None]
    if len(known) < 2:
        return
    yield _plot(found, known, "validation loss, nats per character", {"": [each.loss or 0.0 for each in known]},
                level=found.letters)
    yield _plot(found, known, "gibberish: 0 the text itself, 1 random letters", {
        "": [each.gibberish for each in known]})
    groups = known[0].group_norms()
    yield _plot(found, known, "norm of the weights", {name: [each.group_norms()[name] for each in known]
                                                      for name in groups}, log=True)
    later = [each for each in known if each.moved]
    if len(later) > 1:
        yield _plot(found, later, "distance from the checkpoint before", {
            name: [max(each.moved[name], 1e-9) for each in later] for name in later[0].moved}, log=True)
    layers = range(len(known[0].layers))
    yield _plot(found, known, "spectral radius of the candidate block", {
        f"layer {i + 1}": [float(each.layers[i]["radius"]) for each in known] for i in layers}, log=True)
    yield _plot(found, known, "gradient through time, worst example (1: as at the last step)", {
        f"layer {i + 1}": [max(float(each.layers[i]["worst"]), 1e-9) for each in known] for i in layers}, log=True)
    yield _plot(found, known, "share of gate activations at their ends", {
        f"{gate} {i + 1}": [float(each.layers[i]["saturation"][gate]) for each in known]
        for i in layers for gate in known[0].layers[i]["saturation"]})


def _plot(found: Autopsy, known: Sequence[Examined], title: str, lines: dict[str, list[float]], *, log: bool = False,
          level: float | None = None) -> str:
    figure = _matplotlib().Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    steps = [each.step for each in known]
    for name, values in lines.items():
        axes.plot(steps, values, marker=".", label=name or None)
    if level is not None:
        axes.axhline(level, linestyle="--", color="grey", label="counting letters")
    for each, colour in ((found.last_healthy, "tab:green"), (found.first_broken, "tab:red")):
        if each is not None:
            axes.axvline(each.step, color=colour, alpha=0.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("step")
    if log:
        axes.set_yscale("log")
    if len(lines) > 1 or level is not None:
        axes.legend(fontsize=7, ncols=4)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    picture = out.getvalue()
    # Names inside a picture are unique in the page; what stands before the picture itself belongs to a file alone.
    prefix = re.sub(r"\W+", "-", title)
    picture = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", picture)
    return picture[picture.index("<svg") :]


def _matplotlib() -> Any:
    """Return matplotlib's figures. Raises UsageError if it is not here."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError:
        raise UsageError("--html draws with matplotlib, which is not here: pip install 'tuitrain[export]'") from None


def _text(words: str) -> str:
    return html.escape(safe(words) if "\n" not in words else "\n".join(safe(line) for line in words.split("\n")))
