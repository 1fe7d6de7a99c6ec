"""Filters everything that is drawn, so that the terminal shows control characters instead of obeying them."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tuitrain.telemetry.units import safe


class Unobeyed(LineFilter):
    """A filter for each row of every pane, dialog, border and message, just before it is sent.

    Rows keep their width: characters without a cell are removed, others become the symbol that `safe` has for them.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Called by Textual for each new row; returns the filtered row."""
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [segment if segment.text.isprintable() else Segment(_kept(segment.text), segment.style)
                for segment in segments if not segment.control]


def _kept(text: str) -> str:
    return "".join(c if c.isprintable() else safe(c) for c in text if c.isprintable() or cell_len(c))
