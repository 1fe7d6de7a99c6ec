"""What headless prints, and what the signals do."""

import dataclasses
import io
import os
import signal
import sys

import pytest

from tests.telemetry.test_telemetry import done
from tuitrain.cli import runs, signals
from tuitrain.cli.main import main
from tuitrain.cli.screen import draws_braille
from tuitrain.headless import COLUMNS, WIDTHS, PlainOutput
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.telemetry.sentences import sentence

CONFIG = {"layers": 2, "hidden": 16, "embedding": "onehot", "dropout": 0.5, "loss": "last", "stride": 3, "lr": 0.01,
          "clip": 5.0, "clip_kind": "element", "batch_size": 4, "bptt": 10, "optimizer": "rmsprop", "steps": 0,
          "lr_schedule": "step", "evaluate_every": 10, "sample_every": 10, "snapshot_every": 10, "checkpoint_every": 10,
          "temperature": [1.0], "prompt": "random", "on_divergence": "warn"}
FACTS = {"corpus": "b\x1b[31mook.txt", "train": 900, "validation": 100, "parameters": 1234, "steps_per_epoch": 20,
         "warmup": 0, "remarks": ["line ends normalised"]}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, *events: e.Event, clock: list[float] | None = None) -> str:
    now = clock or [0.0]
    lines = PlainOutput(out, "runs/x", clock=lambda: now[0])
    for event in events:
        lines.show(event)
        now[0] += 1.0
    lines.close()
    return out.getvalue()


def started() -> e.RunStarted:
    return e.RunStarted(config=CONFIG, vocabulary="ab", versions={}, device="cpu", threads=2, precision="fp32",
                        facts=FACTS)


def test_the_header_says_what_is_trained_on_what() -> None:
    text = shown(io.StringIO(), started())
    assert "2x16 LSTM, one-hot, dropout 0.5, 1,234 parameters" in text and "windows, stride 3" in text
    assert "not a norm clip" in text and "open-ended" in text and "line ends normalised" in text
    assert "\x1b" not in text and "␛[31m" in text, "a name from outside cannot steer the terminal"


def test_a_header_without_facts_shows_the_rest() -> None:
    assert "2x16 LSTM" in shown(io.StringIO(), dataclasses.replace(started(), facts={}))


def test_rows_are_aligned_and_fit_eighty_columns() -> None:
    text = shown(io.StringIO(), started(), *[done(1 + 4 * i, [3.0, 2.0, 2.5, 2.25]) for i in range(30)])
    rows = [line for line in text.splitlines() if line.strip()[:1].isdigit()]
    head = next(line for line in text.splitlines() if line.split() == list(COLUMNS))
    assert len(rows) == 6, "one row in five seconds"
    assert {len(r) for r in rows} == {len(head)} == {sum(WIDTHS) + len(WIDTHS) - 1} and len(head) <= 80
    assert "\r" not in text


def test_a_terminal_gets_a_live_line_that_leaves_nothing_behind() -> None:
    text = shown(Terminal(), started(), *[done(1 + i, [2.0]) for i in range(4)],
                 e.NoteAdded(branch=0, step=4, text="a\x1b]0;title\x07b", id="", by="me"))
    assert "\r\x1b[2K" in text
    assert "me: note: a␛]0;title␇b" in text


def test_every_answer_has_words() -> None:
    who = {"id": "i", "by": "me"}
    here = {"branch": 1, "step": 9}
    answers = [
        e.KnobChanged(name="lr", old=0.01, new=0.005, **here, **who), e.Paused(**here, **who),
        e.PromptChanged(old="a", new="b", **here, **who), e.Continued(**here, **who),
        e.RolledBack(from_branch=0, from_step=9, to_step=5, branch=1, knobs={"lr": 0.1, "clip": 1.0}, asked=6,
                     point="s1", **who),
        e.Undone(what="lr", knobs={}, **here, **who), e.LandingStarted(steps=5, **here, **who),
        e.SnapshotTaken(reason="", pinned=True, bytes=5, point="s1", **here, **who),
        e.GuardModeChanged(old="warn", new="stop", **here, **who), e.NoteAdded(text="t", **here, **who),
        e.CheckpointSaved(reason="", path="p", bytes=1, seconds=0.1, params_sha256="", **here, **who),
        e.Evaluated(loss=1.0, bpc=1.44, best=True, characters=5, reason="", seconds=1.0, **here, **who),
        e.SampleDrawn(temperature=1.0, prompt="", text="t", health={}, **here, **who)]
    assert all(sentence(a) for a in answers) and "the last point before 6" in sentence(answers[4])


def test_even_our_own_mistakes_are_one_line(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: object) -> int:
        raise RuntimeError("the allocator\nhas nothing left")

    monkeypatch.setattr(runs, "run", fail)
    assert main(["runs"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "the allocator has nothing left" in err and "Traceback" not in err
    monkeypatch.setenv("TUITRAIN_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["runs"])


class FakeWorker:
    def __init__(self) -> None:
        self.asked: list[c.Command] = []

    def send(self, command: c.Command) -> None:
        self.asked.append(command)


@pytest.mark.parametrize(("number", "again", "code"), [
    (signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGINT, 130), (signal.SIGQUIT, signal.SIGQUIT, 131)])
def test_a_person_who_presses_again_leaves_at_once(
        number: signal.Signals, again: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    worker = FakeWorker()
    handler = signals.Signals(worker)
    handler.received(number)
    handler.received(signal.SIGTERM)  # a batch system's second one
    [stop] = worker.asked
    assert isinstance(stop, c.Stop) and stop.exit_code == signals.ENDINGS[number][1] and not left
    handler.received(again)
    assert left == [code]


@pytest.mark.parametrize(("term", "encoding", "braille"), [
    ("xterm-256color", "utf-8", True), ("linux", "utf-8", False), ("xterm", "ascii", False)])
def test_a_terminal_without_the_characters_of_the_plots_gets_ascii(
        term: str, encoding: str, braille: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "__stderr__", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert draws_braille() is braille
