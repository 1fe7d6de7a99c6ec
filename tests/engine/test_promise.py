"""A run whose steps are far from what the race promised has the next start race again, and says so once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tuitrain.charlstm.start import choices, race
from tuitrain.engine import promise
from tuitrain.engine.promise import LEAST, Promise
from tuitrain.protocol import events as e


class Steps:
    """Steps of made-up length, through a promise."""

    def __init__(self, promised: float) -> None:
        self.now = self.used = 0.0
        self.broken: list[float] = []
        self.promise = Promise(promised, lambda: self.broken.append(self.now), lambda: self.now, lambda: self.used)

    def take(self, count: int, seconds: float, share: float = 1.0) -> list[str]:
        said = []
        for _ in range(count):
            with self.promise.step():
                self.now, self.used = self.now + seconds, self.used + share * seconds
            self.now += 5.0  # what is done between steps is not theirs
            said += [words for words in [self.promise.kept()] if words]
        return said


@pytest.mark.parametrize("took", [0.5, 2.0])
def test_steps_far_from_the_promise_break_it_once(took: float) -> None:
    steps = Steps(1.0)
    [words] = steps.take(400, took)
    assert len(steps.broken) == 1 and f"{took:.2g} s" in words and "1 s were measured" in words


@pytest.mark.parametrize("took", [0.9, 1.1, 1.3])
def test_steps_about_as_promised_keep_it(took: float) -> None:
    steps = Steps(1.0)
    assert steps.take(400, took) == [] and not steps.broken


def test_a_busy_machine_breaks_no_promise_and_a_few_steps_break_none() -> None:
    steps = Steps(1.0)
    assert steps.take(400, 2.0, share=0.5) == []
    assert Steps(1.0).take(LEAST - 1, 2.0) == [] and Steps(0.01).take(400, 0.02) == []


def test_a_broken_promise_is_forgotten_so_that_the_next_start_races_again(
        start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    raced: list[int] = []

    def raced_once(*_: object) -> tuple[choices.Choice, bool]:
        raced.append(1)
        return choices.Choice(1, "fp32", 1000.0, "1 thread 1e+03 s"), True

    monkeypatch.setattr(race, "_race", raced_once)
    monkeypatch.setattr(promise, "WINDOW", 0.0)
    monkeypatch.setattr(promise, "UNDISTURBED", 0.0)
    run = start(steps=LEAST + 5)
    start(run="second")
    assert len(raced) == 1, "it is remembered"
    run.finish()
    [said] = [x for x in run.of(e.EngineSaid) if "timed again" in x.text]
    assert "1e+03 s were measured" in said.text
    start(run="third")
    assert len(raced) == 2
    assert choices.remembered()
