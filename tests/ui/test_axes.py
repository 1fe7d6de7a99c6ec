"""A line, a curve and an axis label of one number stand in one row of a plot."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import START, steps
from tests.ui.script import Script, settled
from tuitrain.protocol import events as e
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.gradients import GradientsPane
from tuitrain.ui.plot import Chart, Curve, nice_ticks


@pytest.mark.parametrize("height", range(5, 24))
@pytest.mark.parametrize("braille", [True, False])
def test_a_level_its_label_and_a_curve_at_it_stand_in_one_row(height: int, braille: bool) -> None:
    for level in np.linspace(-1.45, 0.45, 39):
        x = np.arange(30.0)
        chart = Chart([Curve(x, np.full(30, level), "#ffffff")], (-1.5, 0.5), [(t, f"{t}") for t in (-1.0, 0.0)],
                      (0.0, 60.0), [(float(level), "#ff0000", "")], labels=[(float(level), "here")])
        rows = [line.plain for line in chart.draw(60, height, braille)]
        [named] = [row for row in rows if "here" in row]
        assert ("╌" if braille else "-") in named[10:] and sum("╌" in row for row in rows) <= 1
        assert any("⠀" < character <= "⣿" for character in named) if braille else "." in named, rows


def test_two_labels_of_one_row_are_not_written_over_each_other() -> None:
    ticks = [(t, f"{t:.1f}") for t in nice_ticks(-1.5, 0.5, 4)]
    for height in range(4, 20):
        curve = Curve(np.arange(9.0), np.full(9, -0.5), "#ffffff")
        rows = Chart([curve], (-1.5, 0.5), ticks, (0.0, 9.0), labels=[(-0.01, "0.98")]).draw(40, height, True)
        assert sum("0.98" in row.plain for row in rows) == 1


async def _rows(told: list[e.Event], size: tuple[int, int]) -> list[str]:
    app = CockpitApp(Path("runs/x"), lambda: Script(told))
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        pane: Any = app.cockpit.query_one(GradientsPane)
        return [pane.render_line(y).text for y in range(pane.content_size.height - 1)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("clip", [0.5, 0.3, 0.07])
def test_the_dashed_line_of_the_clip_is_labelled_with_the_clip(clip: float, size: tuple[int, int]) -> None:
    rows = asyncio.run(_rows([replace(START, config={**START.config, "clip": clip}), steps(1, 100), steps(101, 100)],
                             size))
    [named] = [row for row in rows if row.split()[:1] == [f"{clip}"]]
    assert all(row == named for row in rows if "╌" in row), rows
