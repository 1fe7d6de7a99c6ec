"""The panes of an autopsy: curves over the checkpoints, numbers, samples, the verdict. Drawn like those of a run."""

import math
import textwrap
from collections.abc import Callable, Iterator

import numpy as np
from rich.text import Text

from tuitrain.autopsy.cockpit.exhibit import Exhibit, state_of
from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.report import COLUMNS, headline, row
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import on_the_way
from tuitrain.telemetry.units import number, percent
from tuitrain.ui.panes.header import fit
from tuitrain.ui.panes.inside import InsidePane
from tuitrain.ui.panes.sample import SamplePane
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import Chart, Curve, faces, nice_limits, nice_ticks
from tuitrain.ui.view import View

KEYS = ((", ←", "before"), (". →", "next"), ("[", "last healthy"), ("]", "first broken"), ("t", "theme"), ("q", "quit"))
UNKNOWN = "no checkpoint has been examined yet"


class Header(Picture):
    """The folder, the cursor, how far it is."""

    can_focus = False

    def __init__(self, name: str, exhibit: Exhibit) -> None:
        super().__init__(name)
        self._exhibit = exhibit

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one line."""
        shown, colours = self._exhibit, self.palette()
        parts = []
        if shown.here is not None:
            place = f"{shown.at + 1} of {max(shown.of, len(shown.checkpoints))}"
            parts += [Text(f"{shown.here.name}", style="bold"), Text(place), Text(f"step {shown.here.step:,}")]
        if shown.found is None:
            parts.append(Text(on_the_way("examining", len(shown.checkpoints), shown.of) if shown.of else
                              "reading the folder and its text", style=colours.limit))
        else:
            broke = shown.found.first_broken is not None
            room = width - sum(part.cell_len + 2 for part in parts)
            words = (headline(shown.found), *_briefly(shown))
            parts.append(Text(next((each for each in words if len(each) <= room), words[-1]),
                              style=colours.alarm if broke else colours.limit))
        return [fit([*parts, Text(shown.folder, style=colours.dim)], width)]


def _briefly(shown: Exhibit) -> tuple[str, ...]:
    """Return shorter forms of the headline."""
    broken = None if shown.found is None else shown.found.first_broken
    return ("nothing broke",) if broken is None else (f"first broken at step {broken.step:,}", f"✗ {broken.step:,}")


class Footer(Picture):
    """The keys."""

    can_focus = False

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one line."""
        return [fit([Text.assemble((face, "bold"), " ", words) for face, words in KEYS], width)]


class CurvePane(Picture):
    """A number of every checkpoint over the steps; ▲ below it: the last healthy one, the first broken one."""

    def __init__(self, name: str, exhibit: Exhibit, heading: str, read: Callable[[Examined], float], *,
                 log: bool = False) -> None:
        super().__init__(name)
        self.heading = heading
        self._exhibit, self._read, self._log = exhibit, read, log

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the plot."""
        shown, colours = self._exhibit, self.palette()
        steps = np.array([each.step for each in shown.checkpoints], dtype=float)
        values = np.array([self._value(each) for each in shown.checkpoints])
        good = np.isfinite(values)
        if not good.any() or shown.here is None:
            return [Text(UNKNOWN, style=colours.dim)]
        curves = [Curve(steps, values, colours.train), Curve(steps, values, colours.train, "∙")]
        here = self._value(shown.here)
        if math.isfinite(here):
            curves.append(Curve(np.array([float(shown.here.step)]), np.array([here]), colours.validation, "○"))
        levels, marks = [], [(float(shown.here.step), colours.validation)]
        if shown.found is not None:
            if not self._log:
                levels.append((shown.found.letters, colours.ghost, "letters alone"))
            for each, colour in ((shown.found.last_healthy, colours.limit), (shown.found.first_broken, colours.alarm)):
                marks += [(float(each.step), colour)] if each is not None else []
        low, high = nice_limits(np.append(values[good], [line[0] for line in levels]), 0.2)
        ticks = nice_ticks(low, high, 5)
        named = [(tick, number(10**tick, 2)) for tick in ticks] if self._log else faces(ticks)
        span = max(1.0, float(steps[-1] - steps[0]))
        chart = Chart(curves, (low, high), named, (float(steps[0]) - 0.01 * span, float(steps[-1]) + 0.01 * span),
                      levels, marks, colours.dim)
        return chart.draw(width, height, view.braille)

    def _value(self, each: Examined) -> float:
        value = self._read(each)
        if not self._log:
            return value
        return math.log10(value) if 0 < value < 1e30 else math.nan


class NumbersPane(Picture):
    """What was measured: under the cursor, and beside it of the checkpoint it is compared with."""

    heading = "numbers"

    def __init__(self, name: str, exhibit: Exhibit) -> None:
        super().__init__(name)
        self._exhibit = exhibit

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return a row for each number."""
        shown, dim = self._exhibit, self.palette().dim
        here, beside = shown.here, shown.beside
        if here is None or beside is None:
            return [Text(UNKNOWN, style=dim)]
        rows = [("", "here", self._word()), ("step", f"{here.step:,}", f"{beside.step:,}"),
                *zip(COLUMNS[3:], row(here), row(beside), strict=True), *self._gates(here, beside)]
        room = max(8, (width - 14) // 2)
        return [Text.assemble((name.ljust(13)[:13], dim), (now.rjust(room), "bold" if i else dim),
                              (then.rjust(room), dim)) for i, (name, now, then) in enumerate(rows)][:height]

    def _word(self) -> str:
        found = self._exhibit.found
        return "last healthy" if found is not None and found.last_healthy is not None else "best"

    @staticmethod
    def _gates(here: Examined, beside: Examined) -> Iterator[tuple[str, str, str]]:
        for i, layer in enumerate(here.layers):
            for gate, share in layer["saturation"].items():
                then = beside.layers[i]["saturation"][gate] if i < len(beside.layers) else math.nan
                yield f"{gate} {i + 1} at ends", percent(share), percent(then)


class BesideInside(InsidePane):
    """The gates and the gradient through time of the checkpoint under the cursor."""

    def __init__(self, name: str, exhibit: Exhibit) -> None:
        super().__init__(name)
        self._exhibit = exhibit

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the numbers of each layer."""
        here = self._exhibit.here
        if here is None or not here.layers:
            return [Text(UNKNOWN if here is None else "its weights are not finite", style=self.palette().dim)]
        return super().lines(state_of(here), view, width, height)

    def title(self, state: RunState, view: View) -> str:
        """Return the title with the step."""
        return "inside" if self._exhibit.here is None else f"inside · step {self._exhibit.here.step:,}"


class BesideSample(SamplePane):
    """A sample with the same seed: of the checkpoint under the cursor, or of the one it is compared with."""

    def __init__(self, name: str, exhibit: Exhibit, chosen: Callable[[Exhibit], Examined | None], word: str) -> None:
        super().__init__(name)
        self._exhibit, self._of, self._word = exhibit, chosen, word

    def title(self, state: RunState, view: View) -> str:
        """Return the title with the name of the checkpoint."""
        each = self._of(self._exhibit)
        return "sample" if each is None else f"{self._word} · {each.name}"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the beginning of the text."""
        each = self._of(self._exhibit)
        if each is None or not each.sample:
            return [Text(UNKNOWN if each is None else "there is no sample", style=self.palette().dim)]
        return super().lines(state_of(each), view, width, 1 << 16)[:height]


class VerdictPane(Picture):
    """Where training broke, why, and the command that goes on."""

    heading = "verdict"

    def __init__(self, name: str, exhibit: Exhibit) -> None:
        super().__init__(name)
        self._exhibit = exhibit

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the verdict, wrapped; the command is always among the lines."""
        found, colours = self._exhibit.found, self.palette()
        if found is None:
            return [Text("it comes when all are examined", style=colours.dim)]
        judged = found.verdict.judgement
        words = [Text(line) for line in textwrap.wrap(f"{judged.cause.replace('_', ' ')}: {judged.sentence}", width)]
        for each in judged.evidence:
            words += [Text(line, style=colours.dim) for line in textwrap.wrap(f"- {each}", width)]
        if judged.runner_up:
            runner = f"runner-up: {judged.runner_up.replace('_', ' ')}; against it: {judged.against}"
            words += [Text(line, style=colours.dim) for line in textwrap.wrap(runner, width)]
        last = [Text(line, style=colours.limit) for line in textwrap.wrap(f"go on: {found.command}", width)]
        return [*words[: max(1, height - len(last))], *last] if found.command else words[:height]
