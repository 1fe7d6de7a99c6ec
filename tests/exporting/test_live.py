"""What trains is written into other programs' logs as they read it, and nothing that they do reaches the training."""

import contextlib
import importlib.util
import math
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import START, steps
from tuitrain.cli.main import main
from tuitrain.errors import UsageError
from tuitrain.exporting import live
from tuitrain.exporting.live.log import Log
from tuitrain.exporting.live.rows import PACE, Rows
from tuitrain.exporting.live.target import About, Row, Sample
from tuitrain.protocol import events as e
from tuitrain.protocol.channel import Feed
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory
from tuitrain.specs import LOGS

BEGAN = 1_700_000_000.0
LN2 = math.log(2)
ENDED = e.RunEnded(reason="finished", exit_code=0, branch=1, step=130)
DRAWN = e.SampleDrawn(branch=0, step=40, temperature=0.5, prompt="It was ", text="a bell.", health={})


def needs(name: str) -> pytest.MarkDecorator:
    module = LOGS[name].module
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed here")


THEIRS = pytest.mark.filterwarnings("ignore")
"""What their libraries are warned of is not ours."""


class Told(Feed):
    """A feed of what a test tells it."""

    def __init__(self, *events: e.Event, apart: float = 1.0) -> None:
        self._events = [(event, BEGAN + i * apart) for i, event in enumerate(events)]
        self.closed = threading.Event()

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self.closed.set()


class Kept:
    """A library that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Row | Sample] = []
        self.remark, self.closed = "", False

    def numbers(self, row: Row) -> None:
        self.told.append(row)

    def sample(self, sample: Sample) -> None:
        self.told.append(sample)

    def close(self) -> None:
        self.closed = True


def story() -> list[e.Event]:
    """Forty steps with what is not finite, a sample, a validation; then steps 21 to 30 again on another branch."""
    odd = replace(steps(1, 20, loss=2.0), loss=(2.0,) * 19 + (math.nan,), grad_norm=(0.5,) * 19 + (math.inf,))
    return [START, odd, steps(21, 20, loss=1.0), DRAWN,
            e.Evaluated(branch=0, step=40, loss=1.5, bpc=1.5 / LN2, best=True, characters=9, reason="interval",
                        seconds=1.0),
            e.RolledBack(branch=1, from_branch=0, from_step=40, to_step=20, point="s", id="1", by="you",
                         knobs={"lr": 0.001, "clip": 1.0}, asked=None, parent=0),
            steps(21, 10, loss=0.5, branch=1), ENDED]


def made(*events: e.Event, apart: float = 1.0) -> list[Row | Sample]:
    rows = Rows()
    return [row for i, event in enumerate(events) for row in rows.take(event, BEGAN + i * apart)]


def test_a_row_stands_for_the_steps_since_the_one_before_in_the_unit_of_the_run() -> None:
    first, second, sample, validation, again = made(*story())
    assert isinstance(first, Row) and isinstance(second, Row) and isinstance(validation, Row)
    assert (first.branch, first.step, first.time) == (0, 20, BEGAN + 1) and math.isnan(first.values["loss"])
    assert first.values["grad_norm_max"] == math.inf
    assert second.values["loss"] == pytest.approx(1.0 / LN2) and second.values["lr"] == 0.003
    assert second.values["norm/head"] == pytest.approx(second.values["grad_norm"])
    assert sample == Sample(0, 40, BEGAN + 3, "It was a bell.")
    assert validation.values == {"val_loss": pytest.approx(1.5 / LN2)}
    assert isinstance(again, Row) and (again.branch, again.step) == (1, 30)


def test_however_fast_the_steps_are_a_row_a_second_is_made_and_no_step_is_left_out() -> None:
    many = [steps(first, 10, loss=float(first)) for first in range(1, 1001, 10)]
    rows = [row for row in made(START, *many, ENDED, apart=PACE / 20) if isinstance(row, Row)]
    assert 5 <= len(rows) <= 7 and rows[-1].step == 1000
    counts = [b.step - a for a, b in zip([0, *(row.step for row in rows)], rows, strict=False)]
    whole = sum(row.values["loss"] * LN2 * count for row, count in zip(rows, counts, strict=True)) / 1000
    assert whole == pytest.approx(sum(range(1, 1001, 10)) / 100)


def test_everything_is_written_before_a_log_is_closed() -> None:
    kept, feed, said = Kept(), Told(*story()), list[e.EngineSaid]()
    log = Log("fake", feed, About(Path("runs/x"), "1"), lambda about: kept, said.append)
    log.start()
    assert log.close(60.0) and kept.closed and feed.closed.is_set() and not said
    assert repr(kept.told) == repr(made(*story()))


@pytest.mark.parametrize("where", ["open", "numbers", "sample", "close"])
@pytest.mark.parametrize("error", [RuntimeError("no\nnetwork"), SystemExit(3)])
def test_a_library_that_raises_is_turned_off_with_one_line(where: str, error: BaseException) -> None:
    def fail(*arguments: object) -> Any:
        raise error

    kept = Kept()
    if where != "open":
        setattr(kept, where, fail)
    feed, said = Told(*story()), list[e.EngineSaid]()
    log = Log("fake", feed, About(Path("runs/x"), "1"), fail if where == "open" else lambda about: kept, said.append)
    log.start()
    assert feed.closed.wait(60) and log.close(60.0)
    [line] = said
    assert line.level == "warning" and "--log fake failed and is off, training goes on" in line.text
    assert type(error).__name__ in line.text and "\n" not in line.text


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Let go at the end of a test, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


TRAIN = ["--no-ui", "--layers=1", "--hidden=8", "--batch-size=2", "--bptt=8", "--limit=3000", "--steps=60",
         "--sample-every=60", "--sample-length=5", "--evaluate-every=30", "--threads=1", "--device=cpu",
         "--precision=fp32", "--lr=0.01"]


@pytest.mark.parametrize("where", ["open", "numbers"])
def test_a_library_that_hangs_neither_stops_a_run_nor_keeps_its_folder_locked(
        where: str, tmp_path: Path, hanging: threading.Event, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def hang(*arguments: object) -> Any:
        hanging.wait()
        raise RuntimeError("let go")

    kept = Kept()
    if where == "numbers":
        kept.numbers = hang  # type: ignore[method-assign]
    monkeypatch.setattr(live, "check", lambda name: None)
    monkeypatch.setattr(live, "opener", lambda name: hang if where == "open" else lambda about: kept)
    monkeypatch.setattr(Log.close, "__defaults__", (0.05,))
    folder = tmp_path / "run"
    assert main([str(text(tmp_path)), *TRAIN, f"--run={folder}", "--log=wandb"]) == 0
    assert "--log wandb does not finish and is left as it is" in capsys.readouterr().err
    assert journal.has_ended(folder / "journal.jsonl")
    RunDirectory(folder).lock().release()


def test_a_library_that_fails_leaves_one_line_in_the_journal_and_the_run_is_finished(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(about: About) -> Any:
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(live, "check", lambda name: None)
    monkeypatch.setattr(live, "opener", lambda name: fail)
    assert main([str(text(tmp_path)), *TRAIN, f"--run={tmp_path / 'run'}", "--log=mlflow"]) == 0
    told = [event for event, _ in journal.read(tmp_path / "run" / "journal.jsonl")]
    lines = [event.text for event in told if isinstance(event, e.EngineSaid) and "--log" in event.text]
    assert lines == ["--log mlflow failed and is off, training goes on: ConnectionError: nobody is there"]
    assert isinstance(told[-1], e.RunEnded) and told[-1].step == 60


def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the bell rang and the boats came home. " * 100)
    return path


def test_what_is_not_installed_is_said_before_anything_is_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"wandb is not here: pip install 'tuitrain\[wandb\]'"):
        live.check("wandb")
    live.check("off")
    assert main([str(text(tmp_path)), "--no-ui", f"--run={tmp_path / 'run'}", "--log=trackio"]) == 2
    assert "tuitrain[trackio]" in capsys.readouterr().err and not (tmp_path / "run").exists()


def write(name: str, folder: Path) -> list[e.EngineSaid]:
    """Write the story through the library; returns what was said."""
    said: list[e.EngineSaid] = []
    about = About(folder, "0123456789abcdef", {"lr": 0.003, "temperature": [0.5, 1.0], "corpus": "harbour.txt"})
    for events in (story(), [steps(31, 10, branch=1), replace(ENDED, step=40)]):  # and again, as after a resume
        log = Log(name, Told(*events), about, live.opener(name), said.append)
        log.start()
        assert log.close(240.0)
    assert not [line.text for line in said if line.level == "warning"]
    return said


@needs("tensorboard")
@THEIRS
def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write("tensorboard", tmp_path)
    left, line = (EventAccumulator(str(tmp_path / "tensorboard" / branch)) for branch in ("branch-0", "branch-1"))
    left.Reload()
    line.Reload()
    losses = left.Scalars("loss")
    assert [each.step for each in losses] == [20, 40] and math.isnan(losses[0].value)
    assert losses[1].value == pytest.approx(1 / LN2) and losses[1].wall_time == BEGAN + 2
    assert [(each.step, each.value) for each in left.Scalars("val_loss")] == [(40, pytest.approx(1.5 / LN2))]
    assert b"a bell" in left.Tensors("sample")[0].tensor_proto.string_val[0]
    assert [each.step for each in line.Scalars("loss")] == [30, 40]


@needs("wandb")
@THEIRS
def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    write("wandb", tmp_path / "run")
    records = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-0123456789abcdef.wandb"))
    raw = records[0].read_bytes()
    assert b"grad_norm_max" in raw and b"a bell" in raw and b"harbour.txt" in raw


@needs("mlflow")
@THEIRS
def test_mlflow_reads_back_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    write("mlflow", tmp_path / "run")
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("tuitrain")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.params["lr"] == "0.003" and run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(each.step for each in losses) == [20, 30, 40, 40]
    assert [each.step for each in losses if math.isnan(each.value)] == [20]
    assert [each.value for each in client.get_metric_history(run.info.run_id, "val_loss")] == [
        pytest.approx(1.5 / LN2)]


@needs("trackio")
@THEIRS
def test_trackio_reads_back_what_was_written_and_says_nothing_on_standard_output(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported, which nobody did before
    write("trackio", tmp_path / "run")
    assert not capsys.readouterr().out
    [base] = (tmp_path / "trackio").glob("tuitrain*.db")
    with contextlib.closing(sqlite3.connect(base)) as rows:
        found = list(rows.execute("select step, metrics from metrics order by id"))
    assert [step for step, metrics in found if b"grad_norm_max" in metrics] == [20, 40, 30, 40]
    assert any(b"a bell" in metrics for _, metrics in found)
