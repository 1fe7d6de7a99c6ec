"""The report of an autopsy for a terminal: the time line as a table, plots, the verdict, and how to go on."""

import math
import textwrap
from collections.abc import Iterator, Sequence

from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.inquest import Autopsy
from tuitrain.telemetry.units import number, percent, safe

WIDEST, PLOT = 100, 11
MOST_ROWS = 60
"""Rows of the table; of more checkpoints those around the break and evenly spread ones are shown."""
SHOWN = 160
"""Characters of a sample."""
COLUMNS = ("", "checkpoint", "step", "nats", "gibberish", "weights", "moved", "radius", "saturated", "worst flow")


def lines(found: Autopsy, width: int, braille: bool) -> Iterator[str]:
    """Yield the lines of the report, safe for a terminal and no wider than it where they can be broken."""
    width = min(width, WIDEST)
    for line in _about(found):
        yield from _wrapped(line, width)
    yield ""
    yield from map(safe, _table(found))
    yield ""
    yield from _plots(found, width, braille)
    for line in conclusion(found):
        yield from _wrapped(line, width)
    if found.command:
        yield safe(f"go on: {found.command}")


def _wrapped(line: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(safe(line), max(40, width), subsequent_indent="    ", break_on_hyphens=False)


def _about(found: Autopsy) -> Iterator[str]:
    first, last = found.checkpoints[0], found.checkpoints[-1]
    yield (f"{found.source.folder}: {len(found.checkpoints)} checkpoints of {found.source.reader.title}, steps "
           f"{first.step:,} to {last.step:,}; {found.subject.model.words}")
    for theirs, ours, how in found.conversion.table():
        if theirs != ours:
            yield f"  {theirs} → {ours}" + (f" ({how})" if how else "")
    config = found.subject.config
    counted = "the last character of windows" if config.loss == "last" else "all characters of streams"
    yield (f"measured on the last {percent(config.val)} of {found.subject.corpus.name}, "
           f"{counted + f' of {config.bptt}' if config.loss == 'last' else counted}; a foreign model may have been "
           "trained on it, too")
    for words in found.remarks:
        yield f"note: {words}"
    for name, why in found.unreadable[:10]:
        yield f"left out: {why if name in why else f'{name}: {why}'}"
    if len(found.unreadable) > 10:
        yield f"left out: {len(found.unreadable) - 10} more"


def conclusion(found: Autopsy) -> Iterator[str]:
    """Yield the time line in a sentence, the verdict with its evidence, and two samples."""
    yield headline(found)
    judged = found.verdict.judgement
    yield f"cause: {judged.cause.replace('_', ' ')}. {judged.sentence}"
    for words in judged.evidence:
        yield f"  - {words}"
    if judged.runner_up:
        yield f"  runner-up: {judged.runner_up.replace('_', ' ')}; against it: {judged.against}"
    for words in found.verdict.unsure:
        yield f"  cannot be told from files: {words}"
    for each, title in ((found.last_healthy, "healthy"), (found.first_broken, "broken")):
        if each is not None and each.sample:
            yield f"sample of {each.name} ({title}): {' '.join(each.sample.split())[:SHOWN]}"


def headline(found: Autopsy) -> str:
    """Return where training broke, in one sentence."""
    healthy, broken = found.last_healthy, found.first_broken
    if broken is None:
        if healthy is None:
            return "none of them has learned anything yet"
        if found.line.overfits and found.line.best is not None:
            return f"nothing broke; the best is {found.checkpoints[found.line.best].name}, since then it overfits"
        return f"nothing broke: healthy until the last, {healthy.name}" if healthy is found.checkpoints[-1] else (
            f"nothing broke for good; the last near the best is {healthy.name}")
    if healthy is None:
        return f"broken from {broken.name} on; no healthy one came before"
    between = f", {broken.step - healthy.step:,} steps later" if broken.step > healthy.step else ""
    return f"healthy until {healthy.name}; first broken {broken.name}{between}"


def shown(found: Autopsy, most: int = MOST_ROWS) -> list[int]:
    """Return which checkpoints a table shows: all, or of many the ends, those around the break and spread ones."""
    count = len(found.checkpoints)
    if count <= most:
        return list(range(count))
    ends = [i for i in (found.line.last_healthy, found.line.first_broken) if i is not None]
    around = [i + near for i in ends for near in range(-3, 4)]
    spread = [round(i * (count - 1) / (most - len(around) - 1)) for i in range(most - len(around))]
    return sorted({i for i in (*around, *spread) if 0 <= i < count})


def _table(found: Autopsy) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [COLUMNS]
    for i in shown(found):
        each = found.checkpoints[i]
        mark = "✓" if i == found.line.last_healthy else "✗" if i == found.line.first_broken else ""
        rows.append((mark, each.name, f"{each.step:,}", *row(each)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for each_row in rows:
        yield "  ".join(text.ljust(width) if i < 2 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(each_row, widths, strict=True))).rstrip()


def row(each: Examined) -> tuple[str, ...]:
    """Return the numbers of a checkpoint in words: nats, gibberish, weights, moved, radius, saturated, worst flow."""
    total = math.sqrt(math.fsum(norm * norm for norm in each.weights.values()))
    moved = math.sqrt(math.fsum(distance * distance for distance in each.moved.values()))
    return ("not finite" if each.loss is None else f"{each.loss:.3f}",
            f"{each.gibberish:.2f}" if math.isfinite(each.gibberish) else "-", number(total),
            number(moved) if moved else "-", number(each.radius), percent(each.saturation()), number(each.worst, 2))


def _plots(found: Autopsy, width: int, braille: bool) -> Iterator[str]:
    if len(found.checkpoints) < 3 or width < 40:
        return
    known = [each for each in found.checkpoints if each.loss is not None]
    steps = [each.step for each in known]
    yield from _plot("validation loss, nats (dashed: counting letters)", steps, [each.loss or 0.0 for each in known],
                     found, width, braille, found.letters)
    yield from _plot("spectral radius of the candidate block: what a gradient can grow by with each step back", steps,
                     [min(each.radius, 1e6) for each in known], found, width, braille, None)


def _plot(title: str, steps: Sequence[int], values: Sequence[float], found: Autopsy, width: int, braille: bool,
          level: float | None) -> Iterator[str]:
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width, PLOT)
    plotext.plot(list(steps), list(values), marker="braille" if braille else "*")
    if level is not None:
        plotext.plot([steps[0], steps[-1]], [level, level], marker="-")
    if found.first_broken is not None:
        plotext.vline(found.first_broken.step)
    yield title
    yield from plotext.uncolorize(plotext.build()).splitlines()
