"""Reduces what is written to the terminal to the cells that change. Knows no widgets, only escape sequences.

Textual sends a changed row from the left edge of its widget, and each piece with its whole style: three quarters of
those bytes set colours that are set already, and most others repeat characters that are there already. A sequence that
is not understood here is passed on as it is, and what the terminal shows counts as unknown from then on.
"""

import re
from functools import lru_cache

from rich.cells import cell_len

Style = tuple[str, str, frozenset[str]]
"""Colour, background (as parameters of SGR, empty for the terminal's own) and attributes."""
Place = tuple[int, int]
"""Row and column from 0."""

PLAIN: Style = ("", "", frozenset())
TOKEN = re.compile(r"\x1b\[(?P<place>\d+;\d+)?H|\x1b\[(?P<style>[\d;]*)m|(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
                   r"|(?P<newline>\n)|\x1b\[\?2026(?P<frame>[hl])"
                   r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[PX^_\]](?s:.*?)(?:\x1b\\|\x07)|\x1b[ -/]*[0-~]|(?s:.)")
SEEN = frozenset({"4", "7", "9", "21", "53"})
"""Attributes that are seen on a space."""
OFF = {"22": {"1", "2"}, "23": {"3"}, "24": {"4", "21"}, "25": {"5", "6"}, "27": {"7"}, "28": {"8"}, "29": {"9"}}
MOVE = 5
"""Bytes that it takes to move to another column of the same row."""
BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"


class Delta:
    """Knows what the terminal shows. `reduce` is called by the one thread that writes, `forget` by any."""

    def __init__(self) -> None:
        self._unknown = False
        self._out: list[str] = []
        self._size: Place = (0, 0)
        self._rows: dict[int, list[tuple[str, Style] | None]]
        self._style: Style
        """The style of the next text."""
        self._at: Place | None
        """The terminal's cursor, if that is known."""
        self._wanted: Place | None
        """Where the next text goes; None: wherever the terminal's cursor is."""
        self._pen: Style | None
        """The style in force in the terminal, if that is known."""
        self._held = False
        """Whether a frame has begun of which nothing has been written yet."""
        self._lost()

    def forget(self) -> None:
        """Assume nothing about what the terminal shows: it was resized, or another program has written to it."""
        self._unknown = True

    def reduce(self, written: str, size: Place) -> str:
        """Return a shorter text that makes a terminal of `size` (rows, columns) look the same."""
        if self._unknown:
            self._unknown = False
            self._lost()
        self._size = size
        at = 0
        while at < len(written):
            token = TOKEN.match(written, at)
            assert token is not None  # the last alternative takes any character
            at = token.end()
            match token.lastgroup:
                case "place" | None if token[0].endswith("H"):
                    row, column = (token["place"] or "1;1").split(";")
                    self._wanted = int(row) - 1, int(column) - 1
                case "style":
                    self._style = _applied(self._style, token["style"])
                case "text":
                    self._write(token["text"])
                case "newline" if self._wanted is not None:
                    self._wanted = None  # between two rows, each of which begins with a move
                case "frame":
                    self._frame(token["frame"])
                case _:
                    self._pass_on(token[0])
        if self._wanted is not None and self._wanted != self._at and not self._held:
            self._move(self._wanted)
        out, self._out = "".join(self._out), []
        return out

    def _lost(self) -> None:
        self._rows, self._style = {}, PLAIN
        self._at = self._wanted = self._pen = None

    def _pass_on(self, sequence: str) -> None:
        """Write a sequence of another kind: another screen, a query to the terminal, a bell."""
        style = self._style
        if self._wanted is not None:
            self._move(self._wanted)
        self._colour(style)
        self._emit(sequence)
        self._lost()
        self._style = style

    def _frame(self, which: str) -> None:
        if which == "h":
            self._held = True
        elif self._held:
            self._held = False  # a frame in which nothing changed
        else:
            self._emit(END)

    def _write(self, text: str) -> None:
        if self._wanted is None:
            self._colour(self._style)
            self._emit(text)
            self._at = None
            self._rows.clear()
            return
        y, x = self._wanted
        width = len(text) if _narrow(text) else cell_len(text)
        if y >= self._size[0] or x + width > self._size[1]:
            self.forget()  # the terminal is smaller by now and shows it elsewhere
        row = self._rows.setdefault(y, [])
        row.extend([None] * (x + width - len(row)))
        self._wanted = y, x + width
        if width != len(text) or not _narrow(text):
            self._put((y, x), text, self._style)
            # Accents join the cell before, and terminals differ in what half an overwritten character becomes.
            first, end = max(0, x - 1), min(len(row), x + width + 1)
            row[first:end] = [None] * (end - first)
            self._at = None
            return
        old, new = row[x : x + width], [_cell(c, self._style) for c in text]
        row[x : x + width] = new
        differ = [i for i in range(width) if old[i] != new[i]]
        while differ:
            begin = differ.pop(0)
            end = begin + 1
            # Unchanged characters are repeated where that is shorter than moving past them.
            while differ and len(text[end : differ[0]].encode()) <= MOVE:
                end = differ.pop(0) + 1
            self._put((y, x + begin), text[begin:end], self._style)

    def _put(self, place: Place, text: str, style: Style) -> None:
        if self._at != place:
            self._move(place)
        if self._pen is not None and not text.strip(" ") and not (self._pen[2] | style[2]) & SEEN:
            style = self._pen[0], style[1], self._pen[2]
        self._colour(style)
        self._emit(text)
        end = place[1] + len(text)
        # After the last column the cursor is at that column or in the next row, depending on the terminal.
        self._at = (place[0], end) if end < self._size[1] else None

    def _move(self, place: Place) -> None:
        row, column = place
        if self._at is not None and self._at[0] == row:
            self._emit(f"\x1b[{column + 1}G")
        else:
            self._emit(f"\x1b[{row + 1};{column + 1}H" if place != (0, 0) else "\x1b[H")
        self._at = place

    def _colour(self, style: Style) -> None:
        pen = self._pen
        if pen == style:
            return
        colour, background, attributes = style
        if pen is None or not pen[2] <= attributes:
            parts, pen = ["0"] if style != PLAIN else [""], PLAIN
        else:
            parts = []
        parts += sorted(attributes - pen[2])
        if colour != pen[0]:
            parts.append(colour or "39")
        if background != pen[1]:
            parts.append(background or "49")
        self._emit(f"\x1b[{';'.join(parts)}m")
        self._pen = style

    def _emit(self, sequence: str) -> None:
        if self._held:
            self._held = False
            self._out.append(BEGIN)
        self._out.append(sequence)


@lru_cache(16384)
def _cell(character: str, style: Style) -> tuple[str, Style]:
    """Return what is seen: of a space that is its background."""
    return character, ("", style[1], frozenset()) if character == " " and not style[2] & SEEN else style


def _narrow(text: str) -> bool:
    return text.isascii() or all(_cells(c) == 1 for c in text)


@lru_cache(4096)
def _cells(character: str) -> int:
    return cell_len(character)


def _applied(style: Style, parameters: str) -> Style:
    """Return the style after an SGR sequence."""
    colour, background, attributes = style
    numbers = (parameters or "0").split(";")
    i = 0
    while i < len(numbers):
        number, length = numbers[i] or "0", 1
        if number in ("38", "48") and i + 1 < len(numbers):
            length = 5 if numbers[i + 1] == "2" else 3
        value = ";".join(numbers[i : i + length])
        i += length
        code = int(number)
        if code == 0:
            colour, background, attributes = PLAIN
        elif code == 39:
            colour = ""
        elif code == 49:
            background = ""
        elif code == 38 or 30 <= code <= 37 or 90 <= code <= 97:
            colour = value
        elif code == 48 or 40 <= code <= 47 or 100 <= code <= 107:
            background = value
        elif value in OFF:
            attributes -= OFF[value]
        else:
            attributes |= {value}
    return colour, background, attributes
