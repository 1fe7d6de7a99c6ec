"""A race in a host: arms in processes of their own, told as they train, cut, cancelled, killed; the run as it was."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.futures.conftest import END, MIDDLE
from tests.futures.test_choosing import told
from tuitrain.futures import helping
from tuitrain.futures.aside import Futures, Verify
from tuitrain.futures.jobs import Child, Job, Task
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.run_state import RunState

FEW = 20
LONG = 10**6


class Here:
    """A place that trains a task at once, in a thread of this process; torch's generator is put back afterwards."""

    name, words, at_once, lasts = "", "here", 1, False

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def submit(self, task: Task) -> Job:
        import torch

        self.tasks.append(task)
        before = torch.get_rng_state()
        task()
        torch.set_rng_state(before)
        return Done()


class Done:
    key, ended = "", True

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


class Kept:
    """Real children, remembered."""

    name, words, at_once, lasts = "", "in turn on this machine", 1, False

    def __init__(self) -> None:
        self.jobs: list[Child] = []

    def submit(self, task: Task) -> Job:
        self.jobs.append(Child(task))
        return self.jobs[-1]


@pytest.fixture
def hosted(start: Callable[..., Run]) -> Iterator[Callable[..., Run]]:
    """hosted(place) -> a run of 60 steps whose host knows races."""
    runs: list[Run] = []

    def begin(place: Any, **options: Any) -> Run:
        run = start(steps=0, clip=1.0, on_divergence="warn", dropout=0.1, **options)
        run.trainer.asides = (*run.trainer.asides, Futures(run.trainer, run.folder, place))
        run.to_step(MIDDLE)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        aside = run.trainer.asides[-1]
        assert isinstance(aside, Futures)
        if aside._conductor is not None:
            aside._conductor.cancel()
            assert aside._conductor.join(60)


def to_the_end(run: Run) -> e.RaceEnded:
    ended = run.until(lambda event: isinstance(event, e.RaceEnded))
    assert isinstance(ended, e.RaceEnded)
    return ended


def folded(run: Run) -> RunState:
    state = RunState()
    for event in run.events:
        state.fold(event)
    return state


def test_training_stands_while_the_arms_are_trained_and_goes_on_bit_for_bit(
        hosted: Callable[..., Run], start: Callable[..., Run]) -> None:
    alone = start(run="alone", steps=0, clip=1.0, on_divergence="warn", dropout=0.1)
    alone.to_step(END)
    alone.events += list(alone.trainer.reporter.flush())
    run = hosted(Here())
    began = run.answer(c.StartRace, arms=("lr=x0.5", "clip=0.1 lr=x2"), steps=FEW)
    at = run.machine.progress.step
    assert isinstance(began, e.RaceStarted) and began.stands
    assert began.arms == ("as it is", "lr x0.5", "clip 0.1, lr x2")
    ended = to_the_end(run)
    assert run.machine.progress.step == at, "training stands"
    assert ended.reason == "finished" and 1 <= ended.recommended <= 3 and ended.sentences
    run.until(lambda event: isinstance(event, e.Continued))
    run.to_step(END)
    run.events += list(run.trainer.reporter.flush())
    assert run.losses() == alone.losses()
    state = folded(run)
    assert state.race is not None and [runner.done for runner in state.race.runners] == [FEW] * 3
    assert state.race.ended == "finished" and state.status == "running"
    newest = state.race.runners[1].newest
    assert newest is not None and newest.state == "whole" and newest.validation > 0 and newest.error > 0
    assert RunState.from_wire(state.to_wire()).race is not None, "who attaches later sees the race"


def test_without_arms_the_host_proposes_some_and_an_arm_can_be_chosen(hosted: Callable[..., Run]) -> None:
    run = hosted(Here())
    began = run.answer(c.StartRace, steps=FEW, shares=True)
    assert began.arms == ("as it is", "lr x0.5", "lr x0.25", "lr x0.1") and not began.stands
    to_the_end(run)
    assert not run.of(e.Paused), "a race that shares lets training go on"
    answer = run.answer(c.ChooseArm, arm=f"{began.race}/2-lr-x0.5")
    assert isinstance(answer, e.RolledBack) and answer.to_step == began.step and answer.point == began.point
    run.answer(c.AddNote, text="after")
    advanced = [event for event in run.of(e.ArmAdvanced) if event.arm == 2]
    arm = [loss for event in advanced for loss in event.loss]
    assert [told(run.folder, answer.branch)[began.step + 1 + i] for i in range(FEW)] == arm
    state = folded(run)
    assert state.race is not None and state.race.chosen == answer.arm


def test_what_cannot_be_raced_is_refused_in_words(hosted: Callable[..., Run]) -> None:
    run = hosted(Here())
    for words, reason in (({"arms": ("lr=no",)}, "lr"), ({"steps": 0}, "from 1 to"), ({"point": "s99"}, "s99"),
                          ({"arms": ("lr=x0.5",) * 25}, "at most 24")):
        assert reason in run.answer(c.StartRace, **words).reason
    assert "no race" in run.answer(c.CancelRace).reason and "no race" in run.answer(c.CutArm, arm=1).reason
    assert "to be judged" in run.answer(c.JudgeIntervention, branch=0, step=5).reason


def test_a_judgement_is_asked_of_the_host_and_its_word_stands_at_the_mark(hosted: Callable[..., Run]) -> None:
    run = hosted(Here())
    run.answer(c.SaveCheckpoint)
    run.answer(c.SetKnob, name="lr", value=1.0)
    at = run.machine.progress.step
    run.to_step(at + 100)
    judged = run.answer(c.JudgeIntervention, branch=0, step=at)
    assert isinstance(judged, f.InterventionJudged) and judged.word == f.HURT and judged.by == "test"
    began = run.of(e.RaceStarted)[-1]
    assert began.mark.startswith("lr 0.01 → 1") and not began.stands
    assert any(mark.judged == f.HURT for mark in folded(run).story.marks)


def test_a_rollback_of_the_guard_is_judged_when_the_machine_is_idle(
        start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helping, "STEPS", 60)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    run = start(steps=0, clip=1.0, on_divergence="warn")
    run.to_step(20)
    run.answer(c.SaveCheckpoint)
    run.answer(c.SetKnob, name="lr", value=1.0)
    run.to_step(80)
    aside = Futures(run.trainer, run.folder, Here(), verifies=True)
    run.trainer.asides = (*run.trainer.asides, aside)
    run.trainer.orders.inbox.put(c.Rollback(id="g", by=askers.GUARD, to=20, lr=0.01))
    judged: Any = run.until(lambda event: isinstance(event, f.InterventionJudged))
    assert judged.by == askers.GUARD and judged.branch == 1 and not judged.paired and judged.word in f.WORDS
    assert "back from step" in run.of(e.RaceStarted)[-1].mark


def test_a_busy_machine_and_a_persons_rollback_are_left_alone(start: Callable[..., Run]) -> None:
    run = start(steps=0, clip=1.0, on_divergence="warn")
    run.to_step(20)
    load, now = [9.0], [0.0]
    verify = Verify(run.trainer, lambda: load[0], cores=4, clock=lambda: now[0])
    assert verify.due() is None, "nothing was rolled back"
    run.machine.progress.branch = 1
    run.machine.progress.step = 20
    assert verify.due() is None
    run.machine.progress.step += helping.STEPS
    assert verify.due() is None, "the machine is busy"
    load[0] = 1.0
    assert verify.due() is None, "it looks every half a minute"
    now[0] += 60
    assert verify.due() == 1 and verify.due() is None
    run.machine.progress.branch, run.machine.progress.step = 0, 20


@pytest.mark.slow
def test_arms_are_cut_cancelled_and_killed_and_the_run_goes_on_as_if_there_had_been_none(
        hosted: Callable[..., Run], start: Callable[..., Run]) -> None:
    alone = start(run="alone", steps=0, clip=1.0, on_divergence="warn", dropout=0.1)
    alone.to_step(END)
    alone.events += list(alone.trainer.reporter.flush())
    place = Kept()
    run = hosted(place)
    run.answer(c.StartRace, arms=("lr=x0.5", "lr=x0.25"), steps=LONG)
    run.until(lambda event: isinstance(event, e.ArmAdvanced) and event.arm == 1 and len(event.loss) > 0)
    cut = run.answer(c.CutArm, arm=1)
    assert isinstance(cut, e.ArmAdvanced) and cut.state == "cut" and cut.validation > 0
    assert run.answer(c.CutArm, arm=1).reason.startswith("no arm 1")
    run.until(lambda event: isinstance(event, e.ArmAdvanced) and event.arm == 2)
    os.kill(place.jobs[-1]._process.pid, signal.SIGKILL)
    killed: Any = run.until(lambda event: isinstance(event, e.ArmAdvanced) and event.arm == 2 and event.state != "")
    assert killed.state == "failed" and "its process ended" in killed.signs[0]
    run.until(lambda event: isinstance(event, e.ArmAdvanced) and event.arm == 3)
    ended = run.answer(c.CancelRace)
    assert isinstance(ended, e.RaceEnded) and ended.reason == "cancelled" and ended.by == "test"
    assert all(job.ended for job in place.jobs) and len(place.jobs) == 3
    run.until(lambda event: isinstance(event, e.Continued) and event.by == askers.RACE)
    run.to_step(END)
    run.events += list(run.trainer.reporter.flush())
    assert run.losses() == alone.losses()


@pytest.mark.slow
def test_an_arm_does_not_outlive_the_process_that_races_it(hosted: Callable[..., Run]) -> None:
    place = Kept()
    run = hosted(place)
    run.answer(c.StartRace, arms=("lr=x0.5",), steps=LONG)
    run.until(lambda event: isinstance(event, e.ArmAdvanced))
    [job] = place.jobs
    assert job._process.stdin is not None
    job._process.stdin.close()  # as the kernel does when the process is killed
    deadline = time.monotonic() + 60
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.ended


def test_a_race_in_a_journal_without_its_end_ended_with_the_process(hosted: Callable[..., Run], tmp_path: Path) -> None:
    run = hosted(Here())
    run.answer(c.StartRace, arms=("lr=x0.5",), steps=FEW)
    state = RunState()
    for event in run.events:
        state.fold(event)
    assert state.race is not None and not state.race.ended
    state.fold(e.RunEnded(reason="killed", exit_code=1, branch=0, step=60))
    assert state.race.ended == "it ended with the process of the run"
