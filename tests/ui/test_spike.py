"""The spike that a person came to see is in the picture, however long the run is."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import START, steps
from tests.ui.script import Script, settled
from tests.ui.test_pictures import SPIKE
from tuitrain.protocol import events as e
from tuitrain.telemetry.units import LN2
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.gradients import GradientsPane, what_clip_did
from tuitrain.ui.panes.loss import LossPane


async def _shown(size: tuple[int, int], told: list[e.Event] = SPIKE, width: int = 70) -> tuple[list[str], float]:
    app = CockpitApp(Path("runs/x"), lambda: Script(told))
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        pane = app.cockpit.query_one(GradientsPane)
        lines = [line.plain for line in pane.lines(app.state, app.view, width, 12)]
        return lines, pane._chart(app.state, app.view).y[1]


def test_the_axis_reaches_the_largest_norm_and_its_step_is_named() -> None:
    lines, top = asyncio.run(_shown((120, 40)))
    assert 10**top >= 16.0
    assert "largest" in lines[-1] and "at 1,843" in lines[-1]
    marks = {character for line in lines[:3] for character in line if "⠀" < character <= "⣿"}
    assert marks, "nothing is drawn at the height of the spike"


def test_what_a_clip_did_is_said_of_the_steps_it_is_known_for() -> None:
    assert what_clip_did(0, 500) == "acted on none of the last 500 steps"
    assert what_clip_did(0, 214, 2310) == "acted on none of 214 steps since"
    assert what_clip_did(1, 1, 2310) == "acted on 100 % of 1 step since, a step limiter"
    assert what_clip_did(0, 0, 2310) == "set just now"
    assert "a guard" in what_clip_did(25, 500) and "a step limiter" in what_clip_did(250, 500)


SET = e.KnobChanged(branch=0, step=7000, name="clip", old=1.0, new=1.1, id="", by="you")


@pytest.mark.parametrize(("told", "words"), [
    ([], "clip 1: acted on none of the last 500 steps"),
    ([SET], "clip 1.1 since 7,000: set just now"),
    ([SET, steps(7001, 100), steps(7101, 114)], "clip 1.1 since 7,000: acted on none of 214 steps since"),
    ([SET, *(steps(7001 + 100 * i, 100) for i in range(6))], "clip 1.1 since 7,000: acted on none of the last 500"),
    ([SET, steps(7001, 100), replace(SET, step=7100, old=1.1, new=1.1)], "clip 1.1 since 7,000: acted on none of 100"),
])
def test_a_clip_is_judged_by_the_steps_since_it_was_set(told: list[e.Event], words: str) -> None:
    lines, _ = asyncio.run(_shown((120, 40), [*SPIKE, *told], width=110))
    assert words in lines[-1]


def test_a_collapse_stays_in_the_loss_plot_however_long_the_run() -> None:
    told = [START, *(steps(i, 50, loss=4.5 if 3000 < i < 3100 else None) for i in range(1, 20_000, 50))]

    async def top() -> tuple[float, float]:
        app = CockpitApp(Path("runs/x"), lambda: Script(told))
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(app, pilot)
            chart = app.cockpit.query_one(LossPane)._chart(app.state, app.view)
            return chart.y[1], max(float(curve.y.max()) for curve in chart.curves if len(curve.y))

    limit, highest = asyncio.run(top())
    assert limit >= 4.5 / LN2 - 0.1 and highest >= 4.5 / LN2 - 0.1
