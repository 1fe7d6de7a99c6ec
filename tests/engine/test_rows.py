"""Rows that arrive late: none lost, none twice, each window with its own time; the host never far ahead."""

import itertools

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.engine.reporter import Reporter
from tuitrain.engine.rows import AHEAD, LENGTH, Lead, Rows
from tuitrain.protocol.events import StepsDone


class Device:
    """Makes events that are done when the test says so, or when somebody waits for them."""

    def __init__(self) -> None:
        self.events: list[Stub] = []

    def __call__(self) -> "Stub":
        self.events.append(Stub())
        return self.events[-1]


class Stub:
    def __init__(self) -> None:
        self.done, self.waited = True, 0

    def record(self) -> None:
        self.done = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.waited += not self.done
        self.done = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fill(rows: Rows, count: int, first: int) -> None:
    for i in range(first, first + count):
        rows.write(torch.full((2,), float(i)), torch.full((3,), float(i)))
        rows.count()


def numbers(windows: list) -> list[list[float]]:
    return [window.rows[:, 0].tolist() for window in windows]


def test_windows_arrive_in_order_each_with_the_time_at_which_it_was_asked_for() -> None:
    device, clock = Device(), Clock()
    rows = Rows(2, 3, torch.device("cpu"), device)
    for first in (0, 4, 8):
        fill(rows, 4, first)
        assert rows.drain(clock, wait=False) == [] and rows.undrained == 0
        clock.now += 1
    device.events[1].done = True
    assert rows.drain(clock, wait=False) == [], "the second window may not overtake the first"
    device.events[0].done = True
    windows = rows.drain(clock, wait=False)
    assert numbers(windows) == [[0, 1, 2, 3], [4, 5, 6, 7]] and [w.asked for w in windows] == [0, 1]
    assert not any(event.waited for event in device.events)
    fill(rows, 2, 12)
    windows = rows.drain(clock, wait=True)
    assert numbers(windows) == [[8, 9, 10, 11], [12, 13]] and [w.asked for w in windows] == [2, 3]
    assert rows.drain(clock, wait=True) == []


def test_a_pending_window_keeps_its_rows_while_the_ring_goes_round() -> None:
    device, clock = Device(), Clock()
    rows = Rows(2, 3, torch.device("cpu"), device)
    fill(rows, 700, 0)
    rows.drain(clock, wait=False)
    fill(rows, 700, 700)
    told = np.concatenate([w.rows[:, 0] for w in rows.drain(clock, wait=True)])
    assert told.tolist() == list(range(1400))
    assert rows.remembered(5)[:, 0].tolist() == [1395, 1396, 1397, 1398, 1399]
    assert rows.remembered_streams(2 * LENGTH).shape == (LENGTH, 3)


def test_the_host_waits_for_the_step_so_many_back_and_for_no_other() -> None:
    device = Device()
    lead = Lead(device)
    for _ in range(AHEAD):
        lead.step()
    assert [event.waited for event in device.events] == [0] * AHEAD
    for _ in range(AHEAD):
        lead.step()
    assert [event.waited for event in device.events] == [1] * AHEAD, "each event is waited for and used again"
    for event in device.events:
        event.done = True
    lead.step()
    assert sum(event.waited for event in device.events) == AHEAD, "what is done is not waited for"


def test_late_windows_are_told_with_their_own_seconds_and_epoch(text: str) -> None:
    config = Config.of({**TINY, "corpus": "x"})
    m = Machine(config, corpora.build("x", text, 0.1), first_knobs(config))
    device, clock = Device(), Clock()
    m.learner.rows = Rows(m.learner.rows.remembered(0).shape[1], config.batch_size, m.device, device)
    reporter = Reporter(m, clock)
    told: list[StepsDone] = []
    for took in (1.0, 2.0, 4.0):  # ten steps each, on a device that tells the rows one window late
        for _ in range(10):
            m.learn()
        clock.now += took
        told += [e for e in reporter.flush(wait=False) if isinstance(e, StepsDone)]
        for event in device.events:
            event.done = True
    clock.now += 8.0
    told += [e for e in reporter.flush() if isinstance(e, StepsDone)]
    assert [(e.first_step, len(e.loss), e.seconds) for e in told] == [(1, 10, 1.0), (11, 10, 2.0), (21, 10, 4.0)]
    per_epoch = m.steps_per_epoch
    assert [e.epoch for e in told] == pytest.approx([10 / per_epoch, 20 / per_epoch, 30 / per_epoch], abs=1e-4)


def test_thinning_goes_by_the_speed_of_the_steps_that_are_told(text: str) -> None:
    config = Config.of({**TINY, "corpus": "x"})
    m = Machine(config, corpora.build("x", text, 0.1), first_knobs(config))
    device, clock = Device(), Clock()
    m.learner.rows = Rows(m.learner.rows.remembered(0).shape[1], config.batch_size, m.device, device)
    reporter = Reporter(m, clock)
    for took in (0.05, 100.0):  # 200 steps a second, then a pause of the device
        for _ in range(10):
            m.learn()
        clock.now += took
        assert list(reporter.flush(wait=False)) == []
    first, second = (e for e in reporter.flush() if isinstance(e, StepsDone))
    assert (first.every, second.every) == (4, 1)
    assert list(itertools.chain(first.loss, second.loss)) == pytest.approx(m.learner.rows.remembered(20)[:, 0])
