"""`sample` into a pipe: the text alone, as the model drew it; talk goes to standard error."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tuitrain.cli.main import main

Start = Callable[..., Run]
STRANGE = "ab\tc\u00adde\u200d fé\n"


@pytest.fixture
def run(start: Start, corpus: Path) -> Run:
    corpus.write_text(STRANGE * 300 + "\x1b\x9b\u202e")
    run = start(steps=2)
    run.finish()
    return run


def test_a_pipe_gets_the_text_alone_and_as_it_was_drawn(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", str(run.folder.path), "--length=400", "--prompt", "ab", "--temperature=10"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == "" and len(out) == 2 + 400 + 1 and out.startswith("ab") and out.endswith("\n")
    assert {"\t", "\u00ad", "\u200d", "é"} <= set(out), "letters stay as they are"
    assert not set(out) & {"\x1b", "\x9b", "\u202e", "\r"} and "␛" in out
    assert main(words) == 0 and capsys.readouterr().out == out, "the same seed, the same text"


def test_a_terminal_gets_signs_for_what_has_none(run: Run, capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["sample", str(run.folder.path), "--length=400", "--temperature=10"]) == 0
    out = capsys.readouterr().out
    assert not set(out) & {"\u00ad", "\u200d", "\x1b"} and "◦" in out
