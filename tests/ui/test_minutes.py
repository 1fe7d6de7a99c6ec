"""A run in minutes is shown by its minutes, and what its engine estimates meanwhile is no act."""

import io
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import START, steps
from tests.ui.script import Script, drive, screen, until
from tuitrain.headless import PlainOutput
from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import headline
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.header import ProgressPane

TEN = replace(START, facts={**START.facts, "seconds": 600.0})
ESTIMATES = [40_396, 11_578, 23_000]


def estimate(step: int, last: int) -> e.KnobChanged:
    return e.KnobChanged(branch=0, step=step, name="steps", old=1000.0, new=float(last), id="", by=askers.BUDGET)


def progress(app: CockpitApp) -> str:
    app.redraw_plots()
    return app.cockpit.query_one("#progress", ProgressPane).render_line(0).text


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_the_time_left_counts_down_from_the_minutes_whatever_the_last_step_is_estimated_to_be(
        size: tuple[int, int]) -> None:
    script = Script([TEN, replace(steps(1, 10), seconds=60.0)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert "0:09:00 left" in progress(app)
        for i, last in enumerate(ESTIMATES):
            script.say(estimate(10, last), replace(steps(11 + 10 * i, 10), seconds=60.0))
            await until(lambda: app.state.step == 20 + 10 * i)  # noqa: B023
            line = progress(app)
            assert f"0:0{8 - i}:00 left" in line and f"{last:,}" not in line and " of " not in line, line
            full, rest = line.count("━"), line.count("─")
            assert abs(full - (full + rest) * (i + 2) / 10) <= 1

    drive(script, act, size=size)


def test_the_minutes_over_are_shown_as_none_left_and_an_old_run_by_its_steps() -> None:
    state = RunState()
    for event in (TEN, replace(steps(1, 10), seconds=700.0)):
        state.fold(event)
    assert (state.seconds_left, state.done, state.last_step) == (0.0, 1.0, 0)
    state = RunState()
    for event in (START, replace(steps(1, 10), seconds=1.0)):
        state.fold(event)
    assert (state.seconds_left, state.done, state.last_step) == (99.0, 0.01, 1000)


def test_an_estimate_of_the_last_step_is_no_act_and_an_end_that_somebody_sets_is_one() -> None:
    asked = replace(estimate(50, 900), id="7", by="you")

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert [(m.step, m.act) for m in app.state.story.marks] == [(50, "KnobChanged")]
        assert [u.words for u in app.state.story.undoable] == ["steps 1000 → 900"] and screen(app).count("▲") >= 2

    drive(Script([TEN, steps(1, 50), *(estimate(50, last) for last in ESTIMATES), asked]), act)


def test_without_a_screen_the_time_to_go_is_told_and_the_steps_as_an_estimate() -> None:
    out = io.StringIO()
    start = replace(TEN, config={**TEN.config, "loss": "all", "dropout": 0.0, "evaluate_every": 9, "sample_every": 9,
                                 "snapshot_every": 9, "checkpoint_every": 9}, facts={**TEN.facts, "knobs": {
                                     "lr": 0.002, "clip": 0.0, "steps": 40_396}})
    shown = PlainOutput(out, "runs/x", json=False)
    for event in (start, replace(steps(1, 10), seconds=60.0)):
        shown.show(event, 0.0)
    assert "0:10:00 to go, about 40,396 steps" in out.getvalue() and "to step" not in out.getvalue()
    assert out.getvalue().splitlines()[-1].split()[-1] == "0:09:00"


def test_the_log_has_no_line_for_an_estimate() -> None:
    assert headline(estimate(50, 11_578)) == ""
    assert headline(replace(estimate(50, 900), by="you")) == "steps 1000 → 900"


@pytest.mark.parametrize(("size", "words"), [
    ((80, 24), "warm-up: 12 % until step 200"), ((120, 40), "12 %: warm-up to 200"), ((200, 60), "12 %")])
def test_a_rate_that_still_rises_says_so(size: tuple[int, int], words: str) -> None:
    start = replace(START, config={**START.config, "lr": 0.002}, facts={**START.facts, "warmup": 200})
    rising = replace(steps(1, 24), lr=(0.00024,) * 24)
    script = Script([start, rising])

    async def act(app: CockpitApp, pilot: Any) -> None:
        knobs = app.cockpit.query_one("#knobs")
        shown = [knobs.render_line(y).text for y in range(knobs.content_size.height)]
        assert words in shown[0] and "warm-up" in shown[0], shown
        assert any("3.3 medians" in row for row in shown) and any("temp 0.5 0.75 1" in row for row in shown), shown
        script.say(replace(steps(25, 176), lr=(0.002,) * 176))
        await until(lambda: app.state.step == 200)
        app.redraw_plots()
        await until(lambda: "in force 0.002" in knobs.render_line(0).text)
        assert "warm-up" not in knobs.render_line(0).text

    drive(script, act, size=size)
