"""The base of all panes: turns lines of text into rows, of which only the changed ones are sent to the terminal.

Bytes are scarce on a slow line, so each pane is drawn at its own pace, and an unchanged row is not drawn again.
"""

from functools import cache
from math import inf

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import plain_ascii, printable
from tuitrain.ui.palette import Palette, palette_of
from tuitrain.ui.view import View


class Picture(Widget, can_focus=True):
    """A pane. Subclasses implement `lines`; `period` is the minimum time between two drawings in seconds."""

    period = 0.4
    heading = ""

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._strips: list[Strip] = []
        self._shown: tuple[RunState, View] | None = None
        self._next = 0.0
        self._title = ""

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the picture: at most `height` lines of at most `width` cells."""
        return []

    def show(self, state: RunState, view: View, now: float, at_once: bool = False) -> None:
        """Draw if it is due, or `at_once`.

        `now` is in seconds of a monotonic clock; inf draws without changing the pace.
        """
        self._shown = (state, view)
        if now >= self._next or at_once:
            self._next = now + self.period if now < inf else self._next
            self._draw()

    def on_resize(self) -> None:
        """Called by Textual: redraw at the new size."""
        self._strips = []
        if self._shown is not None:
            self._draw()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Called by Textual for each row that is drawn."""
        width = self.content_size.width
        if y < len(self._strips):
            return self._strips[y].apply_style(self.rich_style)
        return Strip.blank(width, self.rich_style)

    def title(self, state: RunState, view: View) -> str:
        """Return the title in the border."""
        return self.heading

    def _draw(self) -> None:
        assert self._shown is not None
        state, view = self._shown
        width, height = self.content_size
        if width < 2 or height < 1 or not self.display:
            return
        title = self.title(state, view)
        bordered = self.styles.border_top[0] not in ("", "none")
        texts: list[Text] = []
        if bordered:
            if self._title != title:
                self._title = title
                self.border_title = Text(printable(title) if view.braille else plain_ascii(printable(title))).markup
        elif self.heading and height > 2:
            texts.append(Text(title, style="bold"))
        texts += self.lines(state, view, width, height - len(texts))
        strips = [_strip(text, width, view.braille) for text in texts[:height]]
        old, self._strips = self._strips, strips
        blank = Strip.blank(width)
        for y in range(max(len(old), len(strips))):
            before, after = (s[y] if y < len(s) else blank for s in (old, strips))
            if before != after:
                begin, end = _changed(before, after, width)
                self.refresh(Region(begin, y, end - begin, 1))

    def palette(self) -> Palette:
        """Return the colours for the current theme."""
        return palette_of(self.app.current_theme)


def _strip(text: Text, width: int, braille: bool) -> Strip:
    text = text.copy()
    text.no_wrap = True
    text.stylize_before(text.style)  # a Text without spans is rendered without its own style
    text.truncate(width, overflow="crop")
    # The only place where a pane's text becomes cells, so control characters from any source are removed here.
    segments = [Segment(words if braille else plain_ascii(words), s.style or Style.null(), None)
                for s in text.render(_console(), end="") for words in [printable(s.text.replace("\n", " "))]]
    # Each segment costs an escape sequence of some 30 bytes, so neighbours of one style become one.
    return Strip(segments).adjust_cell_length(width, Style.null()).simplify()


def _changed(before: Strip, after: Strip, width: int) -> tuple[int, int]:
    """Return the range of columns in which two rows differ."""
    cells = [[(c, s.style) for s in strip for c in s.text] for strip in (before, after)]
    if any(len(row) != width for row in cells) or any(cell_len(c) != 1 for c in set(before.text + after.text)):
        return 0, width  # wide or combining characters: cells are not characters
    differ = [a != b for a, b in zip(*cells, strict=True)]
    return differ.index(True) if True in differ else 0, width - differ[::-1].index(True) if True in differ else width


@cache
def _console() -> Console:
    """Return a console that resolves the styles of a Text; it never prints."""
    return Console(width=400, color_system="truecolor", force_terminal=True)
