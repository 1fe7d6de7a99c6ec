"""The rows of the rollback dialog show what differs, so that a person can choose."""

import math
from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import DataTable

from tests.builders import START, steps
from tests.ui.script import Script, drive, until
from tuitrain.protocol import events as e
from tuitrain.telemetry.lineage import Lineage
from tuitrain.telemetry.story import Point
from tuitrain.telemetry.units import BITS, LN2
from tuitrain.telemetry.validation import Measurement, Validation
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import PickPoint
from tuitrain.ui.restore_rows import PART, table


def point(step: int, branch: int = 0, **other: Any) -> Point:
    return replace(Point(f"s{branch}-{step}", branch, step, False, "interval", 0.0, math.nan, None, 0.003, 0.0, 9),
                   **other)


def column(head: str, points: list[Point], taken: list[Measurement], lineage: Lineage | None = None) -> list[str]:
    heads, rows = table(points, Validation(taken), lineage or Lineage(0, 9999), BITS, 0.0)
    return [cells[heads.index(head)] for _, cells in rows] if head in heads else []


def measured(step: int, bits: float, part: bool = False, branch: int = 0) -> Measurement:
    return Measurement(branch, step, bits * LN2, part)


def test_no_loss_is_shown_as_none() -> None:
    assert column("train", [point(0), point(5, train=2 * LN2)], []) == ["-", "2.000"]
    assert column("val", [point(0)], []) == [] == column(PART, [point(0)], [])


def test_the_nearest_validation_of_each_kind_stands_in_a_column_of_its_own() -> None:
    points = [point(s) for s in (100, 400, 1000, 3000)]
    taken = [measured(400, 2.3), measured(980, 2.1), measured(90, 4.0, True), measured(450, 2.9, True),
             measured(1000, 2.5, True)]
    assert column("val", points, taken) == ["-", "2.300", "~2.100", "-"]
    assert column(PART, points, taken) == ["~4.000", "~2.900", "2.500", "-"]


def test_a_measurement_of_a_line_that_was_left_says_nothing_of_a_point_on_another() -> None:
    lineage = Lineage(1, 700, {1: (0, 600)})
    taken = [measured(640, 9.0), measured(590, 2.0), measured(660, 3.0, branch=1)]
    assert column("val", [point(650, 1), point(600, 0), point(610, 1)], taken, lineage) == [
        "~3.000", "~2.000", "~2.000"]


def test_only_what_is_unusual_says_why_it_was_kept() -> None:
    points = [point(5), point(6, reason="best", on_disk=True), point(7, healthy=False)]
    assert column("kept", points, []) == ["memory", "disk, best", "memory, broken"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_fifteen_points_of_a_young_run_are_told_apart(size: tuple[int, int]) -> None:
    whole = e.Evaluated(branch=0, step=0, loss=3.1, bpc=3.1 / LN2, best=False, characters=99, reason="", seconds=1.0)
    begin = e.SnapshotTaken(branch=0, step=0, id="", by="", reason="start", pinned=False, bytes=3_450_000, point="s0")
    told: list[e.Event] = [START, whole, begin]
    for i in range(15):
        loss = 3 - 0.1 * i
        told += [steps(1 + 40 * i, 40), e.Evaluated(branch=0, step=40 * i + 40, loss=loss, bpc=loss / LN2, best=False,
                                                    characters=9, reason="interval", seconds=1.0, part=True),
                 e.SnapshotTaken(branch=0, step=40 * i + 40, id="", by="", reason="interval", pinned=False,
                                 bytes=3_450_000, point=f"s{i + 1}")]

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("r")
        await until(lambda: isinstance(app.screen, PickPoint) and app.screen.query_one(DataTable).row_count == 17)
        sheet = app.screen.query_one(DataTable)
        rows = [[str(cell) for cell in sheet.get_row_at(i)] for i in range(1, 17)]
        assert not any("nan" in cell for row in rows for cell in row) and rows[-1][0] == "0"
        parts = [row[4] for row in rows[:-1]]
        assert len(set(parts)) == 15 and all(part not in ("-", "") for part in parts)
        assert str(sheet.ordered_columns[4].label) == PART
        assert sheet.virtual_size.width <= sheet.size.width, "no column is cut off"

    drive(Script(told), act, size=size)
