"""Draws curves on axes with plotext. Knows nothing of runs.

plotext fails on numbers that are not finite and on zeros on a log axis, so both are handled here; curves are thinned to
about one number per pixel column first, because plotext's time grows with the number of points.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text
from textual_plotext.plot import Plot

Array = NDArray[Any]
Colour = tuple[int, int, int]
ASCII = {"○": "o", "∙": "+"}
"""Substitutes for the signs of points on a terminal without Unicode."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Numbers over steps, drawn as a line, or as points with the sign `face`."""

    x: Array
    y: Array
    colour: str
    face: str = ""


@dataclass(slots=True)
class Chart:
    """The contents of one plot: `y` limits, `ticks` (value, label), `levels` horizontal lines (value, colour, name)."""

    curves: list[Curve]
    y: tuple[float, float]
    ticks: list[tuple[float, str]]
    x: tuple[float, float]
    levels: list[tuple[float, str, str]] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    axis: str = "#8a8a8a"
    labels: list[tuple[float, str]] = field(default_factory=list)
    """Ticks of a level each; another tick in the same row gives way to them."""

    def draw(self, width: int, height: int, braille: bool) -> list[Text]:
        """Return the lines of the plot; none if there is no room."""
        if width < 20 or height < 4:
            return []
        plot = Plot()
        plot.plotsize(width, height)
        plot.theme("clear")
        plot.axes_color("default")
        plot.canvas_color("default")
        plot.ticks_color(rgb(self.axis))
        plot.frame(False)
        plot.xlim(*self.x)
        # Marks have a row of their own below the curves.
        floor = self.y[0] - (self.y[1] - self.y[0]) / max(1, height - 3) if self.marks else self.y[0]
        plot.ylim(floor, self.y[1])
        rows = Rows(floor, self.y[1], height - 1, 4 if braille else 1)
        named: dict[int, str] = {}
        for value, face in [*self.labels, *self.ticks]:
            if self.y[0] <= value <= self.y[1]:
                named.setdefault(rows.of(value), f"{face} ")
        plot.yticks([rows.middle(row) for row in named], list(named.values()))
        places = nice_ticks(*self.x, max(3, width // 14))
        plot.xticks([float(p) for p in places], [short(p) for p in places])
        levels = [line for line in self.levels if self.y[0] <= line[0] <= self.y[1]]
        for level, colour, _ in levels:
            xs = np.linspace(*self.x, width)
            plot.scatter(xs.tolist(), [rows.middle(rows.of(level))] * len(xs), marker="╌" if braille else "-",
                         color=rgb(colour))
        for curve in self.curves:
            good = np.isfinite(curve.x) & np.isfinite(curve.y)
            x, y = curve.x[good], np.clip(curve.y[good], *self.y)
            if curve.face and len(x):
                y = np.array([rows.middle(rows.of(value)) for value in y])
                plot.scatter(x.tolist(), y.tolist(), marker=curve.face if braille else ASCII.get(curve.face, "o"),
                             color=rgb(curve.colour))
            elif len(x):
                x, y = thin(x, y, 2 * width)
                plot.plot(x.tolist(), y.tolist(), marker="braille" if braille else ".", color=rgb(curve.colour))
        for place, colour in self.marks:
            if self.x[0] <= place <= self.x[1]:
                plot.scatter([place], [floor], marker="▲" if braille else "^", color=rgb(colour))
        for level, colour, name in levels:  # last, so that no line crosses a word
            if name and width >= 3 * len(name):
                plot.text(f" {name}", self.x[1], rows.middle(rows.of(level)), color=rgb(colour), alignment="right")
        return list(Text.from_ansi(plot.build()).split("\n"))[:height]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a plot from `low` to `high`, counted from the lowest; `dots` of a curve stand in each.

    plotext spreads the dots of curves from edge to edge, and by itself whole characters in the same way, though there
    are fewer of them: the same number could be a row apart. Here a character stands where the dot would.
    """

    low: float
    high: float
    count: int
    dots: int

    def of(self, value: float) -> int:
        """Return the row that contains the dot of a number."""
        share = (value - self.low) / (self.high - self.low)
        return math.floor(round(0.5 + (self.dots * self.count - 1) * share, 8)) // self.dots

    def middle(self, row: int) -> float:
        """Return the number that puts a character into a row."""
        return self.low + (self.high - self.low) * row / (self.count - 1)


def thin(x: Array, y: Array, columns: int) -> tuple[Array, Array]:
    """Reduce a curve to the lowest and highest point of each pixel column, which gives the same picture."""
    if len(x) <= 2 * columns:
        return x, y
    edges = np.linspace(0, len(x), columns + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)
    return np.repeat(x[edges], 2), np.stack([low, high], 1).ravel()


def rgb(colour: str) -> Colour:
    """Convert `#rrggbb` to the form that plotext takes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most `count` round numbers between two numbers."""
    span = max(high - low, 1e-12)
    size = 10.0 ** math.floor(math.log10(span / count))
    step = next(size * m for m in (1, 2, 5, 10, 20) if span / (size * m) <= count)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step) + 1)]


def faces(ticks: list[float]) -> list[tuple[float, str]]:
    """Return ticks with labels, all with as many decimals as the finest needs, at least one."""
    digits = next((d for d in (1, 2, 3) if all(abs(t - round(t, d)) < 1e-9 for t in ticks)), 4)
    return [(t, f"{t:.{digits}f}") for t in ticks]


def nice_limits(values: Array, least: float) -> tuple[float, float]:
    """Return limits in round steps, so that an axis stays fixed while numbers vary."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, max(least, 1.0)
    low, high = float(values.min()), float(values.max())
    span = max(high - low, least)
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * m for m in (0.1, 0.2, 0.5, 1, 2) if span / (size * m) <= 8)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, high if high - low >= least else low + math.ceil(least / step) * step


def short(value: float) -> str:
    """Format a step for an axis: 750, 12.5k, 2M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def smooth(values: Array, window: int) -> Array:
    """Return the running mean of the finite numbers among the last `window` at each place."""
    good = np.isfinite(values)
    total, count = np.cumsum(np.where(good, values, 0.0)), np.cumsum(good)
    if len(values) > window:
        total[window:] = total[window:] - total[:-window]
        count[window:] = count[window:] - count[:-window]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
