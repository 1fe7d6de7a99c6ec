"""The race of threads: a thread per core unless another number wins clearly; no trust in a busy machine."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuitrain.charlstm import cache, runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.start import choices, formats, race
from tuitrain.charlstm.start.choices import Choice

CONFIG = Config.of({"layers": 1, "hidden": 8, "batch_size": 2, "bptt": 32, "precision": "fp32"})


class Machine:
    """Steps of made-up length, in proportion to their characters. `share`: of its wall time that each thread
    computes."""

    def __init__(self, seconds: dict[int, float], share: float) -> None:
        self.seconds, self.share, self.order = seconds, share, list[int]()

    def __call__(self, *_: Any) -> "Machine":
        return self

    def step(self, threads: int, precision: str, length: int, *, warm: bool) -> tuple[float, float]:
        if length == CONFIG.bptt:
            self.order.append(threads)
        return self.seconds[threads] * length / CONFIG.bptt, self.share


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(race, "cores", lambda: 2)
    monkeypatch.setattr(cache, "path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(runtime, "apply", lambda threads: None)


def raced(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> tuple[Choice, list[str]]:
    monkeypatch.setattr(race, "_Runner", machine)
    said: list[str] = []
    return race.choose(CONFIG, "cpu", 30, said.append), said


@pytest.mark.parametrize(("one", "two", "taken"), [(0.02, 0.02, 2), (0.0195, 0.02, 2), (0.01, 0.02, 1),
                                                    (0.03, 0.02, 2)])
def test_a_thread_per_core_unless_another_number_wins_clearly(monkeypatch: pytest.MonkeyPatch, one: float, two: float,
                                                               taken: int) -> None:
    choice, said = raced(monkeypatch, Machine({1: one, 2: two}, 1.0))
    assert choice.threads == taken
    assert "2 threads" in choice.compared and "1 thread " in choice.compared and said[-1].endswith(choice.compared)


def test_one_lucky_turn_is_no_win() -> None:
    assert race.fastest({2: [0.02] * 7, 1: [0.01] + [0.03] * 6}) == 2
    assert race.fastest({2: [0.02] * 7, 1: [0.03] + [0.01] * 6}) == 1


def test_the_candidates_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine({1: 0.02, 2: 0.02}, 1.0)
    raced(monkeypatch, machine)
    assert machine.order[:6] == [1, 2, 2, 1, 2, 1]


def test_a_busy_machine_is_neither_trusted_nor_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, said = raced(monkeypatch, Machine({1: 0.01, 2: 0.04}, 0.5))
    assert busy.threads == 2 and "busy" in said[-1]
    quiet, _ = raced(monkeypatch, Machine({1: 0.01, 2: 0.04}, 1.0))
    assert quiet.threads == 1


def test_a_choice_is_forgotten_after_days(monkeypatch: pytest.MonkeyPatch) -> None:
    raced(monkeypatch, Machine({1: 0.01, 2: 0.04}, 1.0))
    fresh = Machine({1: 0.04, 2: 0.01}, 1.0)
    assert raced(monkeypatch, fresh)[0].threads == 1 and not fresh.order
    entries = json.loads(cache.path(choices.FILE).read_text())
    for entry in entries.values():
        entry["time"] = time.time() - choices.FORGOTTEN_AFTER - 1
    cache.path(choices.FILE).write_text(json.dumps(entries))
    assert raced(monkeypatch, fresh)[0].threads == 2 and fresh.order


def with_a_clock(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> list[float]:
    """A clock that only the machine's steps move."""
    now, real = [0.0], machine.step

    def step(threads: int, precision: str, length: int, *, warm: bool) -> tuple[float, float]:
        seconds, share = real(threads, precision, length, warm=warm)
        now[0] += seconds * (1 + (warm and seconds <= race.LONGEST_RACE / 4))
        return seconds, share

    machine.step = step  # type: ignore[method-assign]
    monkeypatch.setattr(race.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("one", "two"), [(0.75, 0.5), (7.0, 4.0), (0.02, 30.0)])
def test_a_slow_model_is_raced_on_few_characters_in_as_little_time(monkeypatch: pytest.MonkeyPatch, one: float,
                                                                   two: float) -> None:
    """Also where a step takes 4 s, or threads that wait for one another take for ever."""
    machine = Machine({1: one, 2: two}, 1.0)
    now = with_a_clock(monkeypatch, machine)
    monkeypatch.setattr(formats, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(race, "_Runner", machine)
    said: list[str] = []
    choice = race.choose(replace(CONFIG, precision="auto"), "cpu", 30, said.append)
    assert now[0] <= race.LONGEST_RACE * (1.5 if two > 20 else 1)
    assert choice.threads == (2 if two < one else 1)
    assert choice.step_seconds == pytest.approx(min(one, two)), "of all characters, whatever was timed"
    assert "timing steps" in said and any(words.startswith("timing steps: 1 thread ") for words in said)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 2), (0.3, 1)])
def test_where_a_single_character_is_too_slow_nothing_more_is_timed(monkeypatch: pytest.MonkeyPatch, share: float,
                                                                     taken: int) -> None:
    """Then training may begin: with a thread per core, on a busy machine with the one that waits for no other."""
    machine = Machine({1: 72.0, 2: 48.0}, share)
    now = with_a_clock(monkeypatch, machine)
    choice, said = raced(monkeypatch, machine)
    assert now[0] <= race.LONGEST_RACE and choice.threads == taken and choice.step_seconds == 72.0
    assert "too slow to time more" in choice.compared and not any("2 threads 48 s" in words for words in said)
    assert choices.remembered() == {}, "one step compares nothing: the next start may find a quieter machine"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"x": 3}', '{"x": {"time": 1, "choice": {"threads": 2}}}'])
def test_a_cache_of_another_kind_is_passed_over(content: str) -> None:
    cache.path(choices.FILE).parent.mkdir()
    cache.path(choices.FILE).write_text(content)
    assert choices.remembered() == {}


def test_real_steps_are_timed(tmp_path: Path) -> None:
    choice = race.choose(CONFIG, "cpu", 30, lambda words: None)
    assert choice.threads in (1, 2) and 0 < choice.step_seconds < 10


def test_threads_that_wait_for_one_another_on_a_busy_machine_are_not_endured(monkeypatch: pytest.MonkeyPatch) -> None:
    crawling, said = raced(monkeypatch, Machine({1: 0.005, 2: 0.23}, 0.5))
    assert crawling.threads == 1 and "busy machine, so 1 thread for now" in said[-1]
    again, _ = raced(monkeypatch, Machine({1: 0.005, 2: 0.004}, 1.0))
    assert again.threads == 2, "what a busy machine said is not remembered"
    assert race.endurable({64: [1.0], 32: [0.3], 1: [0.02]}) == 64, "64 cores may save more than that"
    assert race.endurable({64: [1.0], 32: [0.2], 1: [0.02]}) == 32
