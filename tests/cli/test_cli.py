"""The real program in real processes: options, signals, steering a live run, exact resume."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY
from tuitrain.cli import options
from tuitrain.cli.main import SUBCOMMANDS, main
from tuitrain.cli.send import NAMES, parse
from tuitrain.errors import UsageError
from tuitrain.protocol import codec
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.watching.offers import RACES

pytestmark = pytest.mark.slow

SMALL = [f"--{k.replace('_', '-')}={v}" for k, v in TINY.items()]


def tuitrain(*words: object, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tuitrain", *map(str, words)], cwd=cwd, text=True, timeout=timeout,
                          capture_output=True, check=False, stdin=subprocess.DEVNULL)


def _hear_signals() -> None:
    """What a shell starts in the background ignores SIGINT, and so would everything that these tests start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Live:
    """A run in a process of its own, waited for by what it journals."""

    def __init__(self, cwd: Path, *words: object) -> None:
        self.cwd, self.folder = cwd, RunDirectory(cwd / "run")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tuitrain", *map(str, words)], cwd=cwd, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_hear_signals)

    def at(self, step: int) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            if any(x.first_step + len(x.loss) > step for x in self.steps()):
                return
            time.sleep(0.05)
        raise AssertionError(f"step {step} did not come")

    def steps(self) -> list[e.StepsDone]:
        return [x for x, _ in journal.read(self.folder.journal, kinds=(e.StepsDone,)) if isinstance(x, e.StepsDone)]

    def send(self, *words: object) -> tuple[int, str]:
        done = tuitrain("send", "run", *words, cwd=self.cwd)
        return done.returncode, done.stdout.strip() + done.stderr.strip()

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


# --- words

@pytest.mark.parametrize(("words", "expected"), [
    ("lr 0.5", c.SetKnob(id="i", by="b", name="lr", value=0.5)),
    ("lr x0.5", c.ScaleKnob(id="i", by="b", name="lr", factor=0.5)),
    ("clip off", c.SetKnob(id="i", by="b", name="clip", value=0.0)),
    ("temperature 0.5,1", c.SetKnob(id="i", by="b", name="temperature", value=(0.5, 1.0))),
    ("prompt It was", c.SetPrompt(id="i", by="b", text="It was")),
    ("rollback", c.Rollback(id="i", by="b")),
    ("rollback 2,900 lr=x0.25 clip=1 skip=9",
     c.Rollback(id="i", by="b", to=2900, lr_factor=0.25, clip=1.0, skip_batches=9)),
    ("rollback lr=0.001 clip=auto", c.Rollback(id="i", by="b", lr=0.001, clip="auto")),
    ("rollback clip=x0.5", c.Rollback(id="i", by="b", clip_factor=0.5)),
    ("undo weights", c.Undo(id="i", by="b", weights=True)),
    ("land 200", c.Land(id="i", by="b", steps=200)),
    ("guard pause", c.SetGuardMode(id="i", by="b", mode="pause")),
    ("stop", c.Stop(id="i", by="b"))])
def test_the_words_of_send(words: str, expected: c.Command) -> None:
    assert parse(words.split(), "i", "b") == expected


@pytest.mark.parametrize(("words", "said"), [
    ("", "give a command"), ("rolback", "did you mean rollback"), ("lr", "give a value"), ("lr fast", "not a number"),
    ("pause now", "takes no value"), ("rollback soon maybe", "not a number"), ("lr 1 2", "too many"),
    ("land nan", "not a whole number"), ("clip none", "nor off or auto")])
def test_bad_words_are_named(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(words.split(), "i", "b")


def test_every_command_has_a_word() -> None:
    examples = {"lr": "1", "clip": "1", "temperature": "1", "prompt": "a", "steps": "9", "guard": "warn", "note": "a",
                "pin": "9", "blackbox": "9"}
    made = {type(parse([n, *([examples[n]] if n in examples else [])], "i", "b")) for n in NAMES}
    races = {x.__name__ for x in RACES}  # asked for by the cockpit's keys and by `tuitrain futures`
    assert {x.__name__ for x in made | {c.ScaleKnob}} | races == set(codec.registry(c.Command))


@pytest.mark.parametrize(("words", "said"), [
    (["--lrr", "1"], "did you mean --lr"), (["--layers", "0"], "--layers 0: must be from 1"),
    (["--layers", "many"], "invalid whole number"), (["--optimizer", "adm"], "invalid choice"),
    (["--lr-schedule", "linear"], "needs an end"), (["--stride", "3"], "--loss last"), (["--json"], "--no-ui"),
    (["--steps", "5", "--epochs", "1"], "give one of them"), (["--sample-every", "soon"], "30s"),
    (["--betas", "0.9"], "two numbers"), (["--clip", "nan"], "finite"), (["nothere.txt"], "no such file"),
    (["rums"], "did you mean runs"), (["--warmup", "x"], "5%")])
def test_a_mistake_is_one_line_with_the_remedy_and_exit_2(
        words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("tuitrain: ")
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_help_shows_every_command_fits_a_screen_and_loads_nothing_heavy(tmp_path: Path) -> None:
    shown = tuitrain("--help", cwd=tmp_path).stdout
    assert all(name in shown for name in SUBCOMMANDS) and len(shown.splitlines()) <= 24
    for name in SUBCOMMANDS:
        done = tuitrain(name, "--help", cwd=tmp_path)
        assert done.returncode == 0 and "example: tuitrain" in done.stdout
        lines = done.stdout.splitlines()
        most = 40 if name in ("train", "resume", "adopt") else 24
        assert len(lines) <= most and all(len(line) <= 120 for line in lines)
    everything = tuitrain("train", "--help-all", cwd=tmp_path).stdout
    assert [n for n in options.GROUPS["optimizer"] if f"--{n.replace('_', '-')} " not in everything] == []
    code = "import sys, tuitrain.cli.main as m; m.main(['--help']); m.main(['train', '--lrr']); " \
           "print({'torch', 'numpy', 'textual', 'rich'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("set()")


# --- whole runs

def test_a_run_from_start_to_end_then_runs_sample_and_json(tmp_path: Path, corpus: Path) -> None:
    done = tuitrain(corpus, "--no-ui", "--run", "run", "--steps", 60, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout and "2x16 LSTM" in done.stdout and "finished" in done.stdout
    assert re.search(r"step +epoch +train +val +norm +clipped +lr +chars +left", done.stdout)
    table = tuitrain("runs", ".", cwd=tmp_path).stdout.splitlines()
    assert table[0].split()[:3] == ["run", "state", "step"] and table[1].split()[1:3] == ["finished", "60"]
    again = [tuitrain("sample", "run", "--prompt", "the ", "--length", 30, "--seed", 5, cwd=tmp_path) for _ in "ab"]
    assert again[0].stdout == again[1].stdout and again[0].stdout.startswith("the ")
    assert len(again[0].stdout) == 4 + 30 + 1
    more = tuitrain("resume", "run", "--no-ui", "--json", "--steps", 70, cwd=tmp_path)
    kinds = [json.loads(line)["kind"] for line in more.stdout.splitlines()]
    assert (tmp_path / "run" / "journal.jsonl").read_text().endswith(more.stdout), "the journal's own lines"
    assert more.returncode == 0 and kinds[0] == "RunResumed" and kinds[-1] == "RunEnded" and "StepsDone" in kinds
    twice = tuitrain(corpus, "--no-ui", "--run", "run", *SMALL, cwd=tmp_path)
    assert twice.returncode == 1 and "is a run already" in twice.stderr and twice.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code", "reason"), [
    (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")])
def test_a_signal_saves_and_says_how_to_go_on(
        tmp_path: Path, corpus: Path, number: int, code: int, reason: str) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL)
    live.at(20)
    returned, out, _ = live.end(number)
    assert returned == code and reason in out and "tuitrain resume run" in out
    last = max(x.first_step + len(x.loss) - 1 for x in live.steps())
    assert checkpoints.list_all(live.folder.checkpoints)[-1].step == last


def test_a_live_run_is_steered_watched_and_resumed_exactly(tmp_path: Path, corpus: Path) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL, "--bptt=40", "--batch-size=32")
    live.at(30)
    watcher = subprocess.Popen([sys.executable, "-m", "tuitrain", "attach", "run", "--no-ui"], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None and watcher.stderr is not None
    assert "tuitrain  run" in watcher.stdout.readline()
    answers = {words: live.send(*words.split()) for words in (
        "lr x0.5", "clip 0.7", "temperature 0.9", "prompt the bell", "sample", "evaluate", "checkpoint", "snapshot",
        "rollback 20", "undo", "land 500", "guard pause", "note hello", "pause", "continue", "lr 99", "undo")}
    assert [w for w, (code, _) in answers.items() if code] == ["lr 99"]
    assert "outside" in answers["lr 99"][1] and "0.01 → 0.005" in answers["lr x0.5"][1]
    assert "back from step" in answers["rollback 20"][1] and "branch 1" in answers["rollback 20"][1]
    assert tuitrain("send", "run", "lr", "quick", cwd=tmp_path).returncode == 2
    assert live.send("stop")[0] == 0
    out, err = live.process.communicate(timeout=60)
    watched, _ = watcher.communicate(timeout=60)
    assert live.process.returncode == 0 == watcher.returncode, err
    assert "script: note: hello" in out and "note: hello" in watched and "stopped" in watched
    assert live.send("lr", "0.1")[0] == 1, "nobody is there any more"


def test_a_second_process_goes_on_bit_for_bit(tmp_path: Path, corpus: Path) -> None:
    options = [corpus, "--no-ui", *SMALL, "--dropout=0.2", "--lr-schedule=cosine", "--keep=0"]
    assert tuitrain(*options, "--run", "whole", "--steps", 90, cwd=tmp_path).returncode == 0
    live = Live(tmp_path, *options, "--run", "run", "--steps", 90, "--checkpoint-every", 7)
    live.at(15)  # by then the first checkpoint is on disk
    live.process.kill()
    live.process.communicate()
    done = tuitrain("resume", "run", "--no-ui", cwd=tmp_path)
    assert done.returncode == 0 and "exactly" in done.stdout, done.stderr

    def losses(run: str) -> dict[int, float]:
        told: dict[int, float] = {}
        for x, _ in journal.read(tmp_path / run / "journal.jsonl", kinds=(e.StepsDone,)):
            assert isinstance(x, e.StepsDone)
            told |= {x.first_step + i: loss for i, loss in enumerate(x.loss)}
        return told

    assert losses("run") == losses("whole")
    hashes = [checkpoints.list_all(tmp_path / run / "checkpoints")[-1].params_sha256 for run in ("run", "whole")]
    assert hashes[0] == hashes[1]


def test_detach_goes_on_without_a_terminal(tmp_path: Path, corpus: Path) -> None:
    done = tuitrain(corpus, "--no-ui", "--run", "run", "--detach", *SMALL, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == "run", done.stderr
    assert tuitrain("send", "run", "note", "still", "there", cwd=tmp_path).returncode == 0
    locked = tuitrain("resume", "run", "--no-ui", cwd=tmp_path)
    assert locked.returncode == 1 and "tuitrain attach run" in locked.stderr
    assert tuitrain("send", "run", "stop", cwd=tmp_path).returncode == 0
    missing = tuitrain("gone.txt", "--no-ui", "--run", "r2", "--detach", cwd=tmp_path)
    assert missing.returncode != 0 and "no such file" in missing.stderr


def test_a_reader_that_goes_away_does_not_end_the_training(tmp_path: Path, corpus: Path) -> None:
    live = Live(tmp_path, corpus, "--no-ui", "--run", "run", *SMALL, "--evaluate-every=20")
    assert live.process.stdout is not None
    live.process.stdout.readline()
    live.process.stdout.close()
    live.at(200)
    live.process.stdout = None
    returned, _, err = live.end(signal.SIGTERM)
    assert returned == 143 and "Traceback" not in err


def test_nothing_runs_in_an_empty_folder(tmp_path: Path) -> None:
    assert "no runs" in tuitrain("runs", cwd=tmp_path).stderr
    for words in (["resume", "x"], ["sample", "x"], ["attach", "x"], ["send", "x", "pause"], ["attach"]):
        done = tuitrain(*words, cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert os.listdir(tmp_path) == []
