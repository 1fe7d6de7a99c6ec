"""Arms as jobs, by submitit's local executor: six, one killed, one cut, the host gone and back in the middle."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Run
from tests.futures.conftest import MIDDLE, save_now
from tests.futures.test_choosing import told
from tuitrain.cli.main import main
from tuitrain.errors import UsageError
from tuitrain.futures import cluster
from tuitrain.futures.aside import Futures
from tuitrain.futures.conducting import Conductor
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState

SHORT, LONG = 30, 10**6


def test_what_jobs_ask_for_is_written_as_words() -> None:
    assert cluster.settings("timeout_min=60 slurm_partition=gpu") == {"timeout_min": 60, "slurm_partition": "gpu"}
    assert cluster.settings("") == cluster.USUAL
    with pytest.raises(UsageError, match="'gpu' is not NAME=VALUE"):
        cluster.settings("gpu")


def test_another_cluster_is_refused() -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'tuitrain[slurm]'")
    with pytest.raises(UsageError, match="--on moon: choose one of slurm, local"):
        cluster.Cluster("moon")


def hosted(run: Run) -> Futures:
    aside = Futures(run.trainer, run.folder)
    run.trainer.asides = (*run.trainer.asides, aside)
    return aside


def of_arm(arm: int, *states: str) -> Callable[[e.Event], bool]:
    return lambda event: isinstance(event, e.ArmAdvanced) and event.arm == arm and (
        event.state in states if states else bool(event.loss))


def followed(aside: Futures) -> Conductor:
    assert aside._conductor is not None
    return aside._conductor


def trains(conductor: Conductor, number: int) -> psutil.Process:
    """The process that trains an arm, the last of its job's."""
    job = conductor.runners[number - 1].job
    assert job is not None
    return psutil.Process(int(job.key)).children(recursive=True)[-1]


@pytest.mark.slow
def test_six_arms_one_killed_one_cut_and_the_host_resumed_in_the_middle(
        start: Callable[..., Run], resume: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'tuitrain[slurm]'")
    monkeypatch.setenv(cluster.SETTINGS, "timeout_min=20")
    run = start(steps=0, clip=1.0, on_divergence="warn", dropout=0.1)
    aside = hosted(run)
    run.to_step(MIDDLE)
    save_now(run)
    arms = ("lr=x0.5", "lr=x0.25", "lr=x2", "clip=0.1", "lr=x0.25 clip=0.1")
    began: Any = run.answer(c.StartRace, arms=arms, steps=LONG, on="local")
    assert began.lasts and not began.stands and len(began.arms) == 6
    run.until(of_arm(2))
    trains(followed(aside), 2).kill()
    run.until(of_arm(2, "failed"))
    run.until(of_arm(3))
    cut = run.answer(c.CutArm, arm=3)
    assert cut.state == "cut" and cut.validation > 0
    keys = {i: runner.job.key for i, runner in enumerate(followed(aside).runners) if runner.job is not None}
    left = followed(aside)
    left.leave()  # the host is killed: nothing is told to its jobs
    assert left.join(60)
    run.trainer.saves.abandon()
    at = run.machine.progress.step

    again = resume(run.folder)
    aside = hosted(again)
    assert {i: runner.job.key for i, runner in enumerate(followed(aside).runners) if runner.job is not None} == keys
    again.until(of_arm(4))
    for arm in (1, 4, 5, 6):
        assert again.answer(c.CutArm, arm=arm).state == "cut"
    ended = again.until(lambda event: isinstance(event, e.RaceEnded))
    assert isinstance(ended, e.RaceEnded) and ended.reason == "finished"
    state = RunState()
    for event in [*run.events, *again.events]:
        state.fold(event)
    assert state.race is not None and state.race.ended == "finished"
    assert [runner.state for runner in state.race.runners] == ["cut", "failed", "cut", "cut", "cut", "cut"]
    chosen: Any = again.answer(c.ChooseArm, arm=f"{began.race}/4-lr-x2")
    assert chosen.to_step == began.step <= at
    again.answer(c.AddNote, text="after")
    newest = state.race.runners[3].newest
    assert newest is not None
    assert len(told(again.folder, chosen.branch)) >= state.race.runners[3].done > 0
    deadline = time.monotonic() + 60
    while any(cluster._process(key) for key in keys.values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(cluster._process(key) for key in keys.values()), "no job is left"
    # A killed host would leave no handles; here they have to see the end of their processes before they are collected.
    assert all(runner.job is None or runner.job.ended for runner in left.runners)


@pytest.mark.slow
def test_a_cancelled_race_ends_its_jobs(start: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'tuitrain[slurm]'")
    run = start(steps=0, on_divergence="warn")
    aside = hosted(run)
    run.to_step(20)
    run.answer(c.StartRace, arms=("lr=x0.5",), steps=LONG, on="local")
    run.until(of_arm(1))
    keys = [runner.job.key for runner in followed(aside).runners if runner.job is not None]
    assert run.answer(c.CancelRace).reason == "cancelled" and len(keys) == 2
    assert not any(cluster._process(key) for key in keys)


@pytest.mark.slow
def test_the_command_follows_its_jobs_to_the_table(ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'tuitrain[slurm]'")
    assert main(["futures", str(ended.folder.path), "--from", str(MIDDLE), "--lr", "x0.5", "--steps", str(SHORT),
                 "--on", "local"]) == 0
    out, err = capsys.readouterr()
    assert "they are jobs of local" in err and err.count(f"whole after {SHORT} steps") == 2
    assert out.splitlines()[1].startswith("as it is") and "recommended: " in out
    assert main(["futures", str(ended.folder.path), "--choose", "2"]) == 0
    assert len(told(ended.folder, 1)) == SHORT
