"""A drill's second half, the guard's turn, says how far it is."""

import io

from tuitrain.cli.sitting import EVERY, Turn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_written_over_and_gone_at_the_end() -> None:
    out, now = Terminal(), [0.0]
    turn = Turn(out, lambda: now[0])
    for step in range(1, 101):
        now[0] += 0.5
        turn.told(step, 200)
    turn.close()
    shown = out.getvalue().split("\r\x1b[2K")
    assert len(shown) > 40 and "\n" not in out.getvalue() and shown[-1] == ""
    assert "step 99 of 200, 0:00:50 left" in shown[-2]


def test_elsewhere_it_is_a_line_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    turn = Turn(out, lambda: now[0])
    for step in range(1, 101):
        now[0] += 0.5
        turn.told(step, 200)
    turn.close()
    rows = out.getvalue().splitlines()
    assert len(rows) == 50 / EVERY and all("\x1b" not in row for row in rows)
