"""The spike that a person came to see is in the picture, however long the run is."""

from pathlib import Path

from tests.ui.script import Script, settled
from tests.ui.test_pictures import SPIKE
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.gradients import Gradients, what_clip_did


async def _shown(size: tuple[int, int]) -> tuple[list[str], float]:
    app = CockpitApp(Path("runs/x"), lambda: Script(SPIKE))
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        pane = app.cockpit.query_one(Gradients)
        lines = [line.plain for line in pane.lines(app.state, app.view, 70, 12)]
        return lines, pane._chart(app.state, app.view).y[1]


def test_the_axis_reaches_the_largest_norm_and_its_step_is_named() -> None:
    import asyncio

    lines, top = asyncio.run(_shown((120, 40)))
    assert 10**top >= 16.0
    assert "largest" in lines[-1] and "at 1,8" in lines[-1]
    marks = {character for line in lines[:3] for character in line if "⠀" < character <= "⣿"}
    assert marks, "nothing is drawn at the height of the spike"


def test_what_a_clip_did_is_said_of_the_steps_it_is_known_for() -> None:
    assert what_clip_did(0.0) == "acted on none of the last 500 steps"
    assert "a guard" in what_clip_did(0.05) and "a step limiter" in what_clip_did(0.5)
