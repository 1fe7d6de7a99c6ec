"""A drill's second half, the guard's turn, says how far it is."""

import io

import pytest

from tuitrain.cli.sitting import EVERY, Skipped, Turn
from tuitrain.cli.train import shipped_corpus
from tuitrain.experiments import drill
from tuitrain.experiments.faults import FAULTS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_written_over_and_gone_at_the_end() -> None:
    out, now = Terminal(), [0.0]
    turn = Turn(out, lambda: now[0])
    for step in range(1, 101):
        now[0] += 0.5
        turn.report(step, 200)
    turn.close()
    shown = out.getvalue().split("\r\x1b[2K")
    assert len(shown) > 40 and "\n" not in out.getvalue() and shown[-1] == ""
    assert "step 99 of 200, 0:00:50 left" in shown[-2]


def test_elsewhere_it_is_a_line_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    turn = Turn(out, lambda: now[0])
    for step in range(1, 101):
        now[0] += 0.5
        turn.report(step, 200)
    turn.close()
    rows = out.getvalue().splitlines()
    assert len(rows) == 50 / EVERY and all("\x1b" not in row for row in rows)


def test_it_can_be_skipped() -> None:
    turn = Turn(io.StringIO())
    turn.report(1, 200)
    turn.skip()
    with pytest.raises(Skipped):
        turn.report(2, 200)


def test_a_drill_tells_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []

    def enough(step: int, last: int) -> None:
        told.append((step, last))
        if step >= 30:
            raise Skipped

    with pytest.raises(Skipped):
        drill.run(FAULTS["lr-x10"], shipped_corpus(), 1, at=200, report=enough, hidden=16)
    assert told[0][0] == 0 and told[-1][1] == 200 + drill.AFTER and [s for s, _ in told] == sorted(s for s, _ in told)
