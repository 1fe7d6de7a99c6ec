"""A comparison as text: a table of final numbers, curves, differences in configuration, samples side by side."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotext
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuitrain.comparing.choosing import differences
from tuitrain.comparing.records import AXES, NUMBERS, Array, Record, Unreadable
from tuitrain.telemetry.units import number, safe

COLOURS = ("#4fc3f7", "#ffb74d", "#81c784", "#e57373", "#ba68c8", "#fff176", "#4db6ac", "#f06292")
MOST_CURVES = len(COLOURS)
"""Curves in one plot: more cannot be told apart. The first runs of the order have theirs."""
MOST_SAMPLES, LETTERS = 6, 400
NARROWEST = 24
"""Columns that a sample or a run's settings need."""
HEIGHT = 18
NUMBERED = 6
"""Places at which a curve has the number of its run, where there is no colour to tell curves apart."""
ORDER = ("step", "train", "val", "best", "time", "norm", "lr", "clipped", "clip", "best-at", "bad", "branches")
"""Which numbers a table has where there is no room for all: the first of these."""
LONGEST = 32
"""Columns for the name of a run; a longer one loses its beginning."""


def page(records: Sequence[Record], bad: Sequence[Unreadable], axis: str, width: int, braille: bool = True,
         colour: bool = True) -> RenderableType:
    """Return everything there is to say of these runs. `colour`: whether curves can be told apart by it."""
    parts: list[RenderableType] = [table(records, width)]
    parts += [Text(f"{run.name}: unreadable: {run.why}", style="red") for run in bad]
    for unit in dict.fromkeys(record.unit for record in records):
        mine = [(i, record) for i, record in enumerate(records) if record.unit == unit]
        parts += [Text(), *curves(mine, axis, width, HEIGHT, braille, colour)]
    if len(records) > 1:
        parts += [Text(), *settings(records, width)]
    return Group(*parts, Text(), *samples(records, width))


def table(records: Sequence[Record], width: int) -> RenderableType:
    """Return a row of numbers for each run: as many numbers as there is room for."""
    units = dict.fromkeys(record.unit for record in records)
    names = labels(records)
    if len(units) > 1:
        names = [f"{name} ({safe(r.unit.short or r.unit.name)})" for name, r in zip(names, records, strict=True)]
    cells = {key: ["-" if np.isnan(r.numbers[key]) else spec.show(r.numbers[key]) for r in records]
             for key, spec in NUMBERS.items()}
    between = 2  # what the table puts between columns
    room = width - sum(max(map(len, ("state", *column))) + between for column in (names, [r.state for r in records]))
    room -= len(str(len(records))) + between
    fitting: list[str] = []
    for key in ORDER:
        room -= max(len(NUMBERS[key].head), *map(len, cells[key])) + between
        if room < 0:
            break
        fitting.append(key)
    sheet = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="dim",
                  title=f"losses in {safe(records[0].unit.name)}" if len(units) == 1 else
                        "losses each in its run's own unit")
    sheet.add_column("", justify="right", no_wrap=True)
    for head in ("run", "state"):
        sheet.add_column(head, no_wrap=True)
    shown = [key for key in NUMBERS if key in fitting]
    for key in shown:
        sheet.add_column(NUMBERS[key].head, justify="right", no_wrap=True)
    for i, record in enumerate(records):
        sheet.add_row(Text(str(i + 1), style=_colour(i)), Text(names[i]), Text(record.state),
                      *(cells[key][i] for key in shown))
    return sheet


def labels(records: Sequence[Record]) -> list[str]:
    """Return the names of runs without the folder that they have in common, none longer than LONGEST."""
    names = [record.name for record in records]
    shared = os.path.commonpath([os.path.dirname(os.path.normpath(name)) or "." for name in names]) if all(
        os.path.isabs(name) == os.path.isabs(names[0]) for name in names) else ""
    short = [os.path.relpath(name, shared) if shared else name for name in names]
    return [name if len(name) <= LONGEST else "…" + name[-LONGEST + 1 :] for name in short]


def curves(runs: Sequence[tuple[int, Record]], axis: str, width: int, height: int, braille: bool = True,
           colour: bool = True) -> list[RenderableType]:
    """Return a plot of these runs, each with its number: a line for training, circles for validation."""
    here = [(i, record) for i, record in runs if len(record.over(record.train, axis)[0])]
    drawn = here[:MOST_CURVES]
    lines: list[tuple[int, Array, Array, bool]] = []
    for i, record in drawn:
        for curve, dots in ((record.train, False), (record.validation, True)):
            x, y = record.over(curve, axis)
            good = np.isfinite(x) & np.isfinite(y)
            if good.any():
                lines.append((i, x[good], y[good], dots))
    unit = runs[0][1].unit
    remarks: list[RenderableType] = []
    if len(here) < len(runs):
        lacking = ", ".join(str(i + 1) for i, _ in runs if i not in dict(here))
        remarks.append(Text(f"no {axis} in {lacking}: these runs know none", style="dim"))
    if len(here) > len(drawn):
        remarks.append(Text(f"curves of the first {len(drawn)} of {len(here)}; --where and --sort choose others",
                            style="dim"))
    if not lines:
        return [Text("no losses yet", style="dim"), *remarks]
    line, dot = "─" if braille else ".", "○" if braille else "o"
    numbers = "" if colour else ", each line with the number of its run"
    told = Text(f"{safe(unit.name)} over {AXES[axis]}: {line} training {dot} validation{numbers} ", style="dim")
    for i, record in drawn:
        told.append(f" {i + 1} {os.path.basename(record.name)}", style=_colour(i))
    return [told, Text.from_ansi(_plot(lines, width, height, braille, colour)), *remarks]


def _plot(lines: Sequence[tuple[int, Array, Array, bool]], width: int, height: int, braille: bool, colour: bool) -> str:
    # The losses of the first steps would flatten all that follows.
    values = np.concatenate([y[len(y) // 10 :] for _, _, y, _ in lines])
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1e-3 * max(1.0, abs(high))) * 0.04
    plotext.clear_figure()
    plotext.plotsize(width, height)
    plotext.theme("clear")
    plotext.frame(False)
    plotext.ylim(low - room, high + room)
    for i, x, y, dots in lines:
        marker = ("○" if braille else "o") if dots else "braille" if braille else "."
        draw = plotext.scatter if dots else plotext.plot
        draw(x.tolist(), np.clip(y, low - room, high + room).tolist(), marker=marker, color=_rgb(_colour(i)))
    if not colour:  # over the lines, side by side where there are several
        drawn = [(i, x, np.clip(y, low - room, high + room)) for i, x, y, dots in lines if not dots]
        for place, (i, x, y) in enumerate(drawn):
            shares = (np.arange(NUMBERED) + (place + 1) / (len(drawn) + 1)) / NUMBERED
            at = x[0] + (x[-1] - x[0]) * shares
            plotext.scatter(at.tolist(), np.interp(at, x, y).tolist(), marker=str((i + 1) % 10))
    ticks = np.linspace(low, high, 5)
    plotext.yticks(ticks.tolist(), [f"{t:.2f} " if abs(high) < 1000 else f"{number(t)} " for t in ticks])
    left, right = min(x.min() for _, x, _, _ in lines), max(x.max() for _, x, _, _ in lines)
    places = np.linspace(left, right, max(2, width // 20))
    plotext.xticks(places.tolist(), [_short(p) for p in places])
    return str(plotext.build())


def settings(records: Sequence[Record], width: int) -> Sequence[RenderableType]:
    """Return the settings in which the runs differ, a column for each run as far as they fit."""
    rows = differences(records)
    if not rows:
        return [Text("no differences in configuration", style="dim")]
    most = max(1, (width - 20) // 12)
    sheet = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="dim",
                  title="differences in configuration")
    sheet.add_column("setting", no_wrap=True)
    for i, _ in enumerate(records[:most]):
        sheet.add_column(Text(str(i + 1), style=_colour(i)), justify="right", overflow="fold", max_width=24)
    for name, values in rows.items():
        sheet.add_row(Text(safe(name)), *(Text(_value(v)) for v in values[:most]))
    left = len(records) - most
    return [sheet] + ([Text(f"and {left} more runs, for which there is no room here", style="dim")] if left > 0 else [])


def samples(records: Sequence[Record], width: int) -> Sequence[RenderableType]:
    """Return the newest samples side by side."""
    have = [(i, r, r.sample) for i, r in enumerate(records) if r.sample is not None]
    if not have:
        return []
    beside = max(1, min(MOST_SAMPLES, len(have), width // NARROWEST))
    sheet = Table.grid(padding=(0, 2), expand=False)
    for _ in range(beside):
        sheet.add_column(width=width // beside - 2, overflow="fold")
    for begin in range(0, min(len(have), MOST_SAMPLES), beside):
        row = have[begin : min(begin + beside, MOST_SAMPLES)]
        sheet.add_row(*(Text(f"{i + 1} step {sample.step:,}" + (
            f", temperature {number(sample.temperature)}" if sample.temperature else ""), style=_colour(i))
            for i, _, sample in row))
        sheet.add_row(*(Text(safe(sample.text[:LETTERS], newlines=True).strip()) for _, _, sample in row))
    words = f"newest samples of {min(len(have), MOST_SAMPLES)} of {len(have)} runs" if len(have) > MOST_SAMPLES else (
        "newest samples")
    return [Text(words, style="dim"), sheet]


def print_page(console: Console, made: RenderableType) -> None:
    """Print it, without an escape code where nobody could read one."""
    console.print(made, highlight=False)


def _value(found: Any) -> str:
    if found is None:
        return "-"
    if isinstance(found, float):
        return number(found, 4)
    if isinstance(found, list | tuple):
        return ", ".join(map(_value, found))
    words = safe(str(found))
    return words if "/" not in words else words.rpartition("/")[2]  # a file goes by its name


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
