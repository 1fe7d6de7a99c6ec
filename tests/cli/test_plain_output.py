"""What the program prints holds nothing that a terminal obeys, wherever it came from."""

import os
import subprocess
import sys
import unicodedata

import pytest

from tuitrain.telemetry.units import plain_output, printable

EVIL = "a\x1b]0;title\x07b\x9b2Jc\u202ed\re\x7ff\x00g\x08h"
PROGRAM = """
import sys
from tuitrain.cli import streams
streams.prepare()
print(sys.argv[1]); print(sys.argv[1], file=sys.stderr)
print("one\\ttwo"); print("und älter 中")
"""


def obeyed(text: str) -> list[str]:
    return [c for c in text if c not in "\n\t" and (unicodedata.category(c) == "Cc" or c in "\u202e\u2066")]


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_is_obeyed_is_left(terminal: bool) -> None:
    shown = plain_output(EVIL, terminal=terminal)
    assert obeyed(EVIL) and not obeyed(shown) and len(shown) == len(EVIL)
    assert not obeyed(printable(EVIL)) and printable("plain ⠿ ö") == "plain ⠿ ö"


def test_both_streams_of_a_process() -> None:
    evil = EVIL.replace("\x00", "")
    done = subprocess.run([sys.executable, "-c", PROGRAM, evil], capture_output=True, check=True,
                          env={**os.environ, "PYTHONUTF8": "1"})
    out, err = done.stdout.decode(), done.stderr.decode()
    assert not obeyed(out) and not obeyed(err) and "title" in out and "title" in err
    assert "one\ttwo\n" in out and "und älter 中\n" in out
