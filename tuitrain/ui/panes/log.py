"""What happened and who did it: a line per entry, newest at the bottom, scrollable, filtered by a word."""

import time

from rich.text import Text
from textual.widgets import RichLog

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.story import Entry
from tuitrain.telemetry.units import plain_ascii, safe
from tuitrain.ui.palette import DARK, Palette, palette_of
from tuitrain.ui.view import View


class Log(RichLog):
    """Writes only what it has not written yet; a new filter or theme writes all of it again."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name, wrap=False, max_lines=400, auto_scroll=True, min_width=10)
        self._told, self._written = 0, ("", 0, DARK)
        self.border_title = "log"

    def show(self, state: RunState, view: View, now: float, at_once: bool = False) -> None:
        """Append what is new."""
        if not self.size.width:
            return  # not laid out yet: what is written now would be wrapped to nothing
        story = state.story
        colours = palette_of(self.app.current_theme)
        written = (view.filter, id(story), colours)
        if written != self._written:
            self._told, self._written = 0, written
            self.clear()
            self.border_title = f"log · only “{view.filter}”" if view.filter else "log"
        new = min(story.told - self._told, len(story.entries))
        self._told = story.told
        for entry in list(story.entries)[len(story.entries) - new :]:
            if view.filter.lower() in f"{entry.by} {entry.words}".lower():
                self.write(self._line(entry, view.braille, colours))

    @staticmethod
    def _line(entry: Entry, braille: bool, colours: Palette) -> Text:
        when = time.strftime("%H:%M:%S", time.localtime(entry.time)) if entry.time else "--:--:--"
        line = Text(f"{when} {entry.step:>9,}  ", style=colours.dim, no_wrap=True)
        line.append(f"{safe(entry.by)[:10]:<10} ", style=colours.limit if entry.by != "engine" else colours.dim)
        words = entry.words if braille else plain_ascii(entry.words)
        line.append(words, style=colours.alarm if entry.alarming else "default")
        return line
