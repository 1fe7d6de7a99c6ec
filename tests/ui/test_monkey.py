"""Random keys, clicks and sizes in bursts: the cockpit stays, is drawn and obeys. The long form: tests/ui/monkey.py."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.ui.monkey import KEYS, LINE, TYPED, sitting
from tests.ui.test_terminal import SMALL, Terminal, book  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow


def test_a_scripted_cockpit_survives_a_monkey() -> None:
    asyncio.run(sitting(1, 5, stale=False))


def test_the_real_program_survives_one(book: Path) -> None:  # noqa: F811
    """Also what is typed by a person who believes to be in the shell, and an enter that is held down."""
    dice = random.Random(4)
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL)
    names = [name for name in KEYS if name not in ("d", "q")]  # these leave
    try:
        terminal.shows("● running")
        for known in (["g", *["enter"] * 4], [], [*"u", *LINE], [], ["question_mark", "w", "w", "w"]):
            keys = known or dice.choices(names, [KEYS[name] for name in names], k=12)
            terminal.press("".join(TYPED.get(name, name) for name in keys if name != "escape"))
            terminal.until(lambda _: True)
            terminal.press("\x1b")
            terminal.until(lambda _: True)
        for _ in range(4):
            terminal.press("\x1b")
            terminal.until(lambda _: True)
        terminal.press("?")
        terminal.shows("more lines")
        terminal.press("\x1b")
        text = terminal.until(lambda text: "more lines" not in text)
        assert any(words in text for words in ("running", "paused", "ended")) and "? help" in text
        terminal.press("d")
        assert terminal.ends() == 0
    finally:
        terminal.close()
