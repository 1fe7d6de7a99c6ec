"""What a newcomer types: each is done, or answered by one line that says what to type instead."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.test_cli import SMALL, Live
from tuitrain.charlstm.config import Config
from tuitrain.cli import send
from tuitrain.cli.main import main
from tuitrain.errors import UsageError
from tuitrain.protocol import commands as c
from tuitrain.run.directory import new_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("end", ["steps", "epochs", "minutes"])
def test_a_typed_end_replaces_the_presets(end: str) -> None:
    config = Config.of({"preset": "tflearn", end: 6})
    assert [bool(getattr(config, name)) for name in ("steps", "epochs", "minutes")].count(True) == 1
    assert getattr(config, end) == 6 and config.hidden == 512
    assert Config.of({"preset": "tflearn"}).epochs == 50
    assert not any(getattr(Config.of({"preset": "tflearn", "steps": 0}), n) for n in ("steps", "epochs", "minutes"))


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--minutes", "0"], 2, "--minutes: 0: give a number above 0"), (["--epochs", "-1"], 2, "above 0"),
    (["--clip", "none"], 2, "invalid number, off or auto value: 'none'"),
    (["resume", "book.txt"], 1, "book.txt is a file, not a run folder; to train on it: `tuitrain book.txt`"),
    (["replay", "book.txt"], 1, "is a file"), (["send", "book.txt", "stop"], 1, "is a file"),
    (["sample", "book.txt"], 1, "is a file"), (["attach", "book.txt"], 1, "is a file")])
def test_a_slip_gets_one_line(words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the bell rang twice. " * 40)
    assert main(words) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and [p.name for p in tmp_path.iterdir()] == ["book.txt"]


def test_off_is_a_clip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clip", "off", "--show-config"]) == 0
    assert "clip = 0.0" in capsys.readouterr().out


def test_help_has_the_defaults_and_no_doubled_percent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help-all"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "%%" not in text and "N|P%" in text
    for words in ("(default 2)", "adam, adamw, rmsprop, sgd, muon; default adam", "default 0.5,0.75,1.0", "default 60s",
                  "warn, pause, rollback, stop; default rollback"):
        assert words in text
    assert main(["resume", "--help"]) == 0
    assert "default 0.5" not in capsys.readouterr().out, "a resumed run keeps what it had"


def test_part_of_a_word_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "gradient"]) == 0
    told = capsys.readouterr().out
    assert "gradient norm: " in told and "gradients pane: " in told


@pytest.mark.parametrize(("words", "rest"), [
    ("lr 0.1 --by ann", ["lr", "0.1"]), ("lr 0.1 --by=ann", ["lr", "0.1"]), ("lr 0.1", ["lr", "0.1"])])
def test_who_asks_may_stand_at_the_end(words: str, rest: list[str]) -> None:
    found, by = send._split_sender(words.split(), "script")
    assert found == rest and by == ("ann" if "ann" in words else "script")


def test_best_is_a_place_to_roll_back_to() -> None:
    assert send.parse(["rollback", "best", "lr=x0.5"], "i", "b") == c.Rollback(point="best", lr_factor=0.5, id="i",
                                                                                by="b")
    with pytest.raises(UsageError, match="not understood"):
        send.parse(["rollback", "best", "300"], "i", "b")


def test_the_best_of_a_live_run_is_found(tmp_path: Path, corpus: Path) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL, "--bptt=40", "--batch-size=32")
    live.at(10)
    code, said = live.send("rollback", "best")
    assert code == 2 and "no restore point of a best" in said
    assert live.send("evaluate")[0] == 0
    assert live.send("note", "saved by now")[0] == 0
    while not list(live.folder.checkpoints.glob("*.json")):
        live.at(live.steps()[-1].first_step)
    code, said = live.send("rollback", "best", "--by", "ann")
    assert code == 0 and re.search(r"branch 1", said), said
    assert live.send("stop")[0] == 0
    assert "ann" in live.process.communicate(timeout=60)[0]


def test_eight_at_once_get_a_number_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: new_run(tmp_path / "runs", "book").path.name, range(64)))
    assert sorted(found) == sorted(f"book-{n}" for n in range(1, 65))


def test_runs_begun_at_once_do_not_meet(tmp_path: Path, corpus: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-m", "tuitrain", str(corpus), "--no-ui", "--steps=3", *SMALL],
                                cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * 4, ended
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {f"text-{n}" for n in range(1, 5)}


def test_a_run_that_could_not_begin_leaves_no_folder(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(corpus), "--no-ui", "--hidden=16384", "--layers=32"]) == 2
    assert "GB" in capsys.readouterr().err and not Path("runs").exists()
