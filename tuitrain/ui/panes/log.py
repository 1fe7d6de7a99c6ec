"""The log of events and who caused them: newest at the bottom, scrollable, filtered by a word."""

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
"""Height below which entries are compact and limited to the rows of the pane."""
AT_FIRST = 40
"""Number of entries that are written before the first picture; the older ones are added after it."""
AFTER = 0.5
"""Seconds until they are."""


class LogPane(RichLog):
    """Appends new entries; a new filter, size or theme rewrites all."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name, wrap=True, max_lines=400, auto_scroll=True, min_width=10)
        self._shown, self._written = 0, ("", 0, DARK, 0, 0)
        self.border_title = "log"
        self._newest: tuple[RunState, View] | None = None
        self._begun = False
        """Whether the first picture has been drawn, with the newest entries only."""

    def show(self, state: RunState, view: View, now: float, at_once: bool = False) -> None:
        """Append the new entries."""
        if not self.size.width:
            return  # not laid out yet, so there is no width to wrap to
        self._newest, story = (state, view), state.story
        colours = palette_of(self.app.current_theme)
        width, height = self.scrollable_content_region.width, self.content_size.height
        most = height if height < LOW else 0
        written = (view.filter, id(story), colours, width, most)
        if written != self._written:
            self._shown, self._written = 0, written
            self.clear()
            title = f"log · only “{printable(view.filter)}”" if view.filter else "log"
            self.border_title = Text(title if view.braille else plain_ascii(title)).markup
        new = min(story.told - self._shown, len(story.entries))
        if not self._shown and new > AT_FIRST and not self._begun:
            new, self._begun = AT_FIRST, True
            self.set_timer(AFTER, self._write_all)
        self._shown = story.told
        for entry in list(story.entries)[len(story.entries) - new :]:
            if view.filter.lower() in f"{entry.by} {entry.words}".lower():
                self.write(self._lines(entry, view.braille, colours, width, most), width=width)

    def _write_all(self) -> None:
        if self._newest is not None:
            at_end = self.is_vertical_scroll_end
            self._written = ("", 0, DARK, 0, 0)
            with self.app.batch_update():  # nobody sees it empty, or at its beginning
                self.show(*self._newest, 0.0)
                if at_end:
                    self.scroll_end(animate=False, immediate=True)

    @staticmethod
    def _lines(entry: Entry, braille: bool, colours: Palette, width: int, most: int) -> Text:
        """Return an entry, wrapped with an indent; if `most` is not 0, cut to that many rows with an ellipsis."""
        when = time.strftime("%H:%M:%S", time.localtime(entry.time)) if entry.time else "--:--:--"
        step, by = f"{entry.step:,}", safe(entry.by)[:10]
        line = Text(f"{when} {step if most else step.rjust(9)}  ", style=colours.dim, no_wrap=True)
        line.append(f"{by if most else by.ljust(10)} ", style=colours.limit if entry.by != "engine" else colours.dim)
        words = printable(entry.words.replace("\n", " "))
        words = words if braille else plain_ascii(words)
        style, indent = colours.alarm if entry.alarming else "default", 2 if most else line.cell_len
        room = max(10, width - line.cell_len)
        for row in range(most or len(words) + 1):
            if cell_len(words) <= room:
                return line.append(words, style=style)
            if row == most - 1:
                return line.append(set_cell_size(words, room - 1) + ("…" if braille else "~"), style=style)
            first = Text(words).wrap(Console(width=room), room)[0].plain
            line.append(f"{first}\n{' ' * indent}", style=style)
            words, room = words[len(first) :].lstrip(), max(10, width - indent)
        return line
