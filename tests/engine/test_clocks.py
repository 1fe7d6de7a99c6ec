"""A clock that is set forward and back by a day while it trains: times of day jump, nothing else notices."""

import os
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.conftest import Run
from tuitrain.cli.runs import _columns
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol import events as e
from tuitrain.recording.past import Past
from tuitrain.recording.sessions import Replay
from tuitrain.run import index, journal

Start = Callable[..., Run]
DAY = 86_400.0


class Clocks:
    """A steady clock of ten seconds a step, and one of the day that is set at some steps."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch, jumps: dict[int, float]) -> None:
        self._run, self._jumps = run, jumps
        monkeypatch.setattr(run.trainer.saves, "_clock", self.steady)
        monkeypatch.setattr(run.trainer.reporter, "_clock", self.steady)
        run.trainer.saves._submitted = self.steady()
        self.saved: list[int] = []
        submit = run.trainer.saves.submit

        def noted(snapshot: Snapshot, reason: str) -> None:
            self.saved.append(snapshot.step)
            submit(snapshot, reason)

        monkeypatch.setattr(run.trainer.saves, "submit", noted)
        run.trainer.reporter.moved()
        monkeypatch.setattr(time, "time", self.of_day)

    def steady(self) -> float:
        return 10.0 * self._run.machine.progress.step

    def of_day(self) -> float:
        step = self._run.machine.progress.step
        return 1_700_000_000.0 + self.steady() + sum(jump for at, jump in self._jumps.items() if step >= at)


def trained(start: Start, monkeypatch: pytest.MonkeyPatch, name: str, jumps: dict[int, float]) -> tuple[Run, list[int]]:
    """A run of 40 steps, and those that were saved."""
    run = start(run=name, checkpoint_every="60s", keep=0, steps=100)
    clocks = Clocks(run, monkeypatch, jumps)
    run.to_step(40)
    return run, clocks.saved


@pytest.mark.parametrize("jumps", [{10: DAY}, {10: -DAY}, {10: DAY, 20: -2 * DAY, 30: DAY}], ids=str)
def test_a_clock_that_is_set_changes_times_of_day_only(start: Start, resume: Start,
                                                       monkeypatch: pytest.MonkeyPatch, jumps: dict[int, float]
                                                       ) -> None:
    (usual, as_always), (run, saved) = (trained(start, monkeypatch, name, which)
                                        for name, which in (("usual", {}), ("run", jumps)))
    assert saved == as_always == [1, 3, 6, 12, 18, 24, 30, 36]
    past, as_usual = Past(run.folder).state, Past(usual.folder).state
    assert past.trained_seconds == as_usual.trained_seconds == pytest.approx(400, abs=20)
    assert past.seconds_left == as_usual.seconds_left == pytest.approx(600, abs=40)
    times = [when for _, when in journal.read(run.folder.journal)]
    assert any(abs(b - a) > DAY / 2 for a, b in pairwise(times)), "the journal says what it was told"
    assert index.digest(run.folder).step == 40
    run.events += run.trainer.saves.finish(run.machine.freeze())
    again = resume(run.folder)
    again.to_step(60)
    usual.to_step(60)
    assert again.losses(0).items() >= {step: loss for step, loss in usual.losses(0).items() if step > 40}.items()


def test_a_replay_of_it_comes_to_its_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = trained(start, monkeypatch, "run", {10: DAY, 20: -2 * DAY, 30: DAY})
    now = [0.0]
    tape = Replay(run.folder, speed=64.0, clock=lambda: now[0])
    told: list[e.Event] = []
    for _ in range(60):
        now[0] += 1
        told += tape.drain()
    assert max(x.first_step + len(x.loss) - 1 for x in told if isinstance(x, e.StepsDone)) == 40


def test_a_run_from_the_future_has_no_age(start: Start) -> None:
    run = start()
    later = time.time() + DAY
    os.utime(run.folder.config, (later, later))
    assert _columns(run.folder)[-1] == "-"


def test_an_interval_in_seconds_holds_whatever_a_step_takes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(checkpoint_every="60s", keep=0)
    now = [0.0]
    monkeypatch.setattr(run.trainer.saves, "_clock", lambda: now[0])
    run.trainer.saves._submitted = 0.0
    gaps, last = [], 0.0
    submit = run.trainer.saves.submit

    def noted(*args: object, **more: object) -> None:
        nonlocal last
        gaps.append(now[0] - last)
        last = now[0]
        submit(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(run.trainer.saves, "submit", noted)
    for step in range(1, 200):
        now[0] += 0.5 if step < 150 else 13.0  # another program takes the machine
        run.to_step(step)
    assert gaps[:3] == [7.5, 15, 30] and max(gaps) < 60 + 13 and len(gaps) > 10


def by_the_clock(run: Run, now: list[float], steps: int, seconds: Callable[[int], float],
                 done: Callable[[], int]) -> list[float]:
    """When something happened, by a clock that each step moves on."""
    times, seen = [], done()
    for _ in range(steps):
        step = run.machine.progress.step + 1
        now[0] += seconds(step)
        run.to_step(step)
        if done() > seen:
            times.append(now[0])
        seen = done()
    return times


def slows_down(step: int) -> float:
    """A race in a quiet second saw half a second a step; then another program takes the machine."""
    return 0.5 if step < 40 else 4.0


def test_snapshots_keep_their_seconds_when_steps_become_eight_times_as_long(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(snapshot_every="8s")
    now = [0.0]
    monkeypatch.setattr(run.trainer._snapshots, "_clock", lambda: now[0])
    run.trainer._snapshots._since = 0.0
    taken = by_the_clock(run, now, 100, slows_down, lambda: len(run.of(e.SnapshotTaken)))
    assert run.machine.config.snapshot_every == "8s"
    assert taken[:4] == [1, 3, 7, 15], "a new run is watched most closely at its start"
    gaps = [b - a for a, b in pairwise(taken[3:])]
    assert max(gaps) <= 8 + 4 and min(gaps) >= 8 and len(gaps) >= 25


def test_samples_keep_their_seconds_when_steps_become_eight_times_as_long(
        start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(sample_every="20s")
    now, drawn = [0.0], [0]

    def noted(id: str = "", by: str = "") -> None:
        drawn[0] += 1

    monkeypatch.setattr(run.samples._timer, "_clock", lambda: now[0])
    monkeypatch.setattr(run.samples, "start", noted)
    run.samples._timer._since = 0.0
    times = by_the_clock(run, now, 100, slows_down, lambda: drawn[0])
    assert times[0] == 10, "not of the first seconds, and before the interval is over"
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 20 + 4 and min(gaps) >= 20 and len(gaps) >= 10


def test_what_goes_by_the_clock_leaves_the_losses_alone(start: Start, resume: Callable[..., Run],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for name, seconds in (("quick", 0.5), ("slow", 40.0)):
        run = start(run=name, snapshot_every="8s", sample_every="20s", checkpoint_every="60s", dropout=0.2)
        now = [0.0]
        for paced in (run.trainer._snapshots, run.samples._timer, run.trainer.saves):
            monkeypatch.setattr(paced, "_clock", lambda now=now: now[0])
        run.trainer.saves._submitted = 0.0
        by_the_clock(run, now, 30, lambda _, seconds=seconds: seconds, lambda: 0)
        run.stop()
        again = resume(run.folder)
        assert again.of(e.RunResumed)[0].exact and again.machine.config.sample_every == "20s"
        again.to_step(40)
        again.events += list(again.trainer.reporter.flush())
        losses.append((run.losses(), again.losses()))
    assert losses[0] == losses[1]


def test_the_ends_of_epochs_and_the_clock_between_them(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(checkpoint_every="epoch", keep=0)
    per_epoch = run.machine.cursor.batches_per_epoch
    now, saved = [0.0], []
    saves = run.trainer.saves
    monkeypatch.setattr(saves, "_clock", lambda: now[0])
    saves._submitted = 0.0
    monkeypatch.setattr(saves, "submit", lambda snapshot, reason: (
        saved.append((now[0], snapshot.step, reason)), setattr(saves, "_submitted", now[0])))
    by_the_clock(run, now, 2 * per_epoch, lambda _: 7.0, lambda: 0)
    assert [step for _, step, reason in saved if reason == e.EPOCH] == [per_epoch, 2 * per_epoch]
    gaps = [b - a for (a, *_), (b, *_) in pairwise(saved)]
    assert max(gaps) < 60 + 7 and len(gaps) > 10, "no more than a minute is lost, however long an epoch is"
