"""The newest sample while it is drawn, each character coloured by its surprise."""

import textwrap

from rich.cells import cell_len
from rich.text import Text

from tuitrain.protocol.commands import DrawSample
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.story import SampleText
from tuitrain.telemetry.units import number, safe
from tuitrain.ui.palette import surprise_colour
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

FIRST_LINE = 60
"""Characters that a new sample needs before it replaces the old one."""
ROOM = 8
"""Free rows needed to show an earlier sample, too."""


class SamplePane(Picture):
    """The newest sample, and earlier ones below it as far as there is room, which shows how the model improves."""

    heading = "sample"

    def title(self, state: RunState, view: View) -> str:
        """Return the title with temperature and step of the sample."""
        text = self._chosen(state)
        if text is None:
            return "sample"
        at = f" · T {number(text.temperature)}" if text.temperature else ""  # a script's samples have none
        return f"sample{at} · step {text.step:,}"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the prompt and the text; only the end if it does not fit."""
        newest = self._chosen(state)
        if newest is None:
            why = state.capabilities.why_not(DrawSample)
            words = textwrap.wrap(why or "the next sample is drawn soon", max(12, width))
            return [Text(row, style=self.palette().dim) for row in words]
        rows = self._rows(newest.prompt, newest.text, newest.bits, width)
        older = [text for text in self._texts(state) if text.whole and text is not newest]
        while older and len(rows) + ROOM <= height:
            text = older.pop()
            at = f"T {number(text.temperature)}, " if text.temperature else ""
            dim = Text(f"─ before: {at}step {text.step:,}", style=self.palette().dim)
            rows += [dim, *self._rows(text.prompt, text.text, text.bits, width)]
            if len(rows) >= height:
                return rows[:height]
        return rows[-height:]

    @staticmethod
    def _texts(state: RunState) -> list[SampleText]:
        """Return the samples of the line that led here."""
        return [text for text in state.story.texts if state.lineage.holds(text.branch, text.step)]

    def _chosen(self, state: RunState) -> SampleText | None:
        texts = self._texts(state)
        if not texts:
            return None
        newest = texts[-1]
        if len(newest.text) < FIRST_LINE and not newest.whole and len(texts) > 1:
            return texts[-2]
        return newest

    def _rows(self, prompt: str, text: str, bits: list[float], width: int) -> list[Text]:
        colours = self.palette()
        styled = [(c, colours.dim + " italic") for c in safe(prompt[-2 * width :])]
        styled += [(c, surprise_colour(colours, bits[i]) if i < len(bits) else "")
                   for i, c in enumerate(safe(text, newlines=True))]
        return wrap(styled, width)


def wrap(styled: list[tuple[str, str]], width: int) -> list[Text]:
    """Return lines of at most `width` cells, broken at spaces and newlines; other whitespace is kept."""
    rows: list[list[tuple[str, str]]] = []
    row: list[tuple[str, str]] = []
    used, space = 0, -1
    for char, style in styled:
        if char == "\n":
            rows.append(row)
            row, used, space = [], 0, -1
            continue
        cells = cell_len(char)
        if used + cells > width:
            cut = space + 1 if space >= 0 else len(row)
            rows.append(row[:cut])
            row = row[cut:]
            used, space = sum(cell_len(c) for c, _ in row), -1
        row.append((char, style))
        used += cells
        if char == " ":
            space = len(row) - 1
    rows.append(row)
    return [Text.assemble(*r) if r else Text("") for r in rows]
