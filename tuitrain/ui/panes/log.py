"""What happened and who did it: a line per entry, newest at the bottom, scrollable, filtered by a word."""

import time

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text
from textual.widgets import RichLog

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.story import Entry
from tuitrain.telemetry.units import plain_ascii, printable, safe
from tuitrain.ui.palette import DARK, Palette, palette_of
from tuitrain.ui.view import View

LOW = 4
"""Rows below which an entry has one line."""


class LogPane(RichLog):
    """Writes only what it has not written yet; a new filter or theme writes all of it again."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name, wrap=True, max_lines=400, auto_scroll=True, min_width=10)
        self._told, self._written = 0, ("", 0, DARK, 0, False)
        self.border_title = "log"

    def show(self, state: RunState, view: View, now: float, at_once: bool = False) -> None:
        """Append what is new."""
        if not self.size.width:
            return  # not laid out yet: what is written now would be wrapped to nothing
        story = state.story
        colours = palette_of(self.app.current_theme)
        width, low = self.scrollable_content_region.width, self.content_size.height < LOW
        written = (view.filter, id(story), colours, width, low)
        if written != self._written:
            self._told, self._written = 0, written
            self.clear()
            title = f"log · only “{printable(view.filter)}”" if view.filter else "log"
            self.border_title = Text(title if view.braille else plain_ascii(title)).markup
        new = min(story.told - self._told, len(story.entries))
        self._told = story.told
        for entry in list(story.entries)[len(story.entries) - new :]:
            if view.filter.lower() in f"{entry.by} {entry.words}".lower():
                self.write(self._lines(entry, view.braille, colours, width, low), width=width)

    @staticmethod
    def _lines(entry: Entry, braille: bool, colours: Palette, width: int, low: bool) -> Text:
        """Long words go on below their beginning; where there are few rows each entry has one and ends in a sign."""
        when = time.strftime("%H:%M:%S", time.localtime(entry.time)) if entry.time else "--:--:--"
        line = Text(f"{when} {entry.step:>9,}  ", style=colours.dim, no_wrap=True)
        line.append(f"{safe(entry.by)[:10]:<10} ", style=colours.limit if entry.by != "engine" else colours.dim)
        words = printable(entry.words.replace("\n", " "))
        words = words if braille else plain_ascii(words)
        room, style = max(10, width - line.cell_len), colours.alarm if entry.alarming else "default"
        if low and cell_len(words) > room:
            sign = "…" if braille else "~"
            return line.append(set_cell_size(words, room - 1) + sign, style=style)
        indent = line.cell_len
        rows = Text(words, style=style).wrap(Console(width=room), room) if words else [Text()]
        for i, row in enumerate(rows):
            line.append("\n" + " " * indent if i else "").append_text(row)
        return line
