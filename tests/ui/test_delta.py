"""What is sent to the terminal: as little as possible, and the picture is the same."""

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st

from tuitrain.ui.delta import BEGIN, END, Delta

ROWS, COLUMNS = 4, 19
SIZE = (ROWS, COLUMNS)
STYLES = ["", "1", "38;2;1;2;3", "1;38;2;1;2;3;48;2;9;9;9", "48;2;9;9;9", "4;31", "7", "3;94;100", "22;39"]
TEXTS = st.lists(st.sampled_from([*"ab  ─⣿é漢", "e\u0301"]), min_size=1, max_size=4).map("".join)
PIECES = st.lists(st.tuples(st.sampled_from(STYLES), TEXTS), min_size=1, max_size=2)
FRAMES = st.lists(st.dictionaries(st.integers(0, ROWS - 1), st.tuples(st.integers(0, 3), PIECES), min_size=1),
                  min_size=1, max_size=8)


def drawn(row: int, column: int, *pieces: tuple[str, str]) -> str:
    """A part of a row as Textual writes it: each piece with its whole style."""
    return f"\x1b[{row + 1};{column + 1}H" + "".join(
        f"\x1b[{style}m{text}\x1b[0m" if style else text for style, text in pieces)


def seen(screen: pyte.Screen) -> list[list[object]]:
    cells = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)]
    return [[(" ", c.bg) if c.data == " " and not (c.underscore or c.reverse) else c for c in row] for row in cells]


@settings(max_examples=200, deadline=None)
@given(FRAMES)
def test_the_terminal_shows_what_was_drawn(frames: list[dict[int, tuple[int, list[tuple[str, str]]]]]) -> None:
    delta, whole, reduced = Delta(), pyte.Screen(COLUMNS, ROWS), pyte.Screen(COLUMNS, ROWS)
    for frame in frames:
        rows = [drawn(row, column, *pieces) for row, (column, pieces) in sorted(frame.items())]
        written = "\n".join(rows) + "\x1b[1;1H"
        pyte.Stream(whole).feed(written)
        sent = delta.reduce(written, SIZE)
        pyte.Stream(reduced).feed(sent)
        assert seen(whole) == seen(reduced)
        assert (whole.cursor.y, whole.cursor.x) == (reduced.cursor.y, reduced.cursor.x)


def test_only_the_cells_that_change_are_sent_and_a_colour_once() -> None:
    delta, blue = Delta(), "38;2;0;0;255;48;2;18;18;18"
    delta.reduce(drawn(1, 0, (blue, "loss 1.234"), (blue, " ok")), SIZE)
    assert delta.reduce(drawn(1, 0, (blue, "loss 1.234"), (blue, " ok")), SIZE) == ""
    assert delta.reduce(drawn(1, 0, (blue, "loss 1.239"), (blue, " ok")), SIZE) == "\x1b[10G9\x1b[14G"
    green = blue.replace("0;0;255", "0;255;0")
    assert delta.reduce(drawn(1, 0, (green, "loss 1.238")), SIZE) == "\x1b[1G\x1b[38;2;0;255;0mloss 1.238"


def test_a_frame_in_which_nothing_changes_is_not_sent_at_all() -> None:
    delta, row = Delta(), drawn(0, 0, ("", "same"))
    assert "".join(delta.reduce(part, SIZE) for part in (BEGIN, row, END)) == f"{BEGIN}\x1b[H\x1b[msame{END}"
    assert "".join(delta.reduce(part, SIZE) for part in (BEGIN, row, END)) == ""


def test_after_another_sequence_a_resize_or_text_beyond_the_edge_all_is_sent_again() -> None:
    row = drawn(0, 0, ("", "same"))
    for disturb in (lambda d: d.reduce("\x1b[?1049h", SIZE), lambda d: d.forget(),
                    lambda d: d.reduce(drawn(ROWS, 0, ("", "below")), SIZE)):
        delta = Delta()
        delta.reduce(row, SIZE)
        disturb(delta)
        assert "same" in delta.reduce(row, SIZE)
        assert "same" not in delta.reduce(row, SIZE)


def test_what_is_no_text_is_passed_on_as_it_is() -> None:
    delta = Delta()
    written = "\x1b[?1049h\x1b[?25l\x1b]0;title\x07\x1b[?2026$p\x07\x1b[>1u"
    assert delta.reduce(written, SIZE).replace("\x1b[m", "") == written
    assert delta.reduce("\x1b[1mbold", SIZE).endswith("\x1b[0;1mbold")  # where no place was named
