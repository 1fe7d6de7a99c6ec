"""The glossary covers the screen; completion answers what a shell asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuitrain.cli.main import SUBCOMMANDS, main
from tuitrain.cli.screen import first_time
from tuitrain.telemetry.glossary import PANES, WORDS
from tuitrain.telemetry.units import LEAST
from tuitrain.ui import keys


def test_every_pane_is_explained_in_two_sentences() -> None:
    assert tuple(PANES) == tuple(keys.PANES.values())
    for name, text in PANES.items():
        assert text.endswith(".") and text.count(". ") == 1, name


def test_the_words_of_the_screen_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"bpc", "clip", "val", "branch", "lr", LEAST} <= WORDS.keys()
    assert main(["help", "best", "possible"]) == 0
    assert "entropy rate" in capsys.readouterr().out
    assert main(["help"]) == 0
    told = capsys.readouterr().out
    assert all(f"{word}: " in told for word in WORDS) and max(map(len, told.splitlines())) <= 78
    assert main(["help", "bcp"]) == 2
    assert "did you mean bpc" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "expected"), [
    ("tuitrain re", {"resume", "replay", "reenact"}), ("tuitrain compare runs/", {"runs/text-1"}),
    ("tuitrain te", {"text.txt"}),
    ("tuitrain text.txt --optim", {"--optimizer"}),
    ("tuitrain text.txt --optimizer ", {"adam", "adamw", "rmsprop", "sgd", "muon"}),
    ("tuitrain resume runs/", {"runs/text-1"}), ("tuitrain send runs/text-1 rollb", {"rollback"}),
    ("tuitrain fetch cop", {"copperfield"}), ("tuitrain completion f", {"fish"})])
def test_a_shell_is_answered(typed: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch()
    (tmp_path / "runs" / "text-1").mkdir(parents=True)
    (tmp_path / "runs" / "text-1" / "config.json").write_text("{}")
    answer = tmp_path / "answer"
    # As the code for the shell does it: the answer comes on descriptor 8.
    asking = f"exec {sys.executable} -m tuitrain 8>{answer} 9>/dev/null"
    subprocess.run(["bash", "-c", asking], cwd=tmp_path, check=True, timeout=30, env={
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": typed, "COMP_POINT": str(len(typed)), "COMP_TYPE": "9"})
    assert {word.strip() for word in answer.read_text().split("\n")} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_code_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "tuitrain" in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 2


def test_the_hint_is_for_the_first_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert [first_time(), first_time()] == [True, False]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert not first_time(), "where nothing can be remembered nobody is greeted every time"


def test_the_readme_names_every_command() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert [name for name in SUBCOMMANDS if name != "train" and f"tuitrain {name}" not in readme] == []
    assert len(readme.splitlines()) <= 155
    picture = Path(__file__).resolve().parents[1] / "ui" / "readme.svg"
    assert "tests/ui/readme.svg" in readme and 10_000 < picture.stat().st_size < 300_000
