"""What is printed of a run that is over bears the times of that run, and says each thing once."""

import io
import re
import time
from itertools import pairwise

import pytest

from tests.builders import steps
from tuitrain.headless import PlainOutput
from tuitrain.protocol import events as e

WHEN = 1_600_000_000.0


def saved(reason: str, id: str = "") -> e.CheckpointSaved:
    return e.CheckpointSaved(branch=0, step=600, id=id, by="", reason=reason, bytes=3_450_000, seconds=0.02,
                             path="checkpoints/b0-s600.safetensors", params_sha256="0")


def printed(*events: e.Event) -> list[str]:
    out = io.StringIO()
    lines = PlainOutput(out, "runs/x", period=0.0)
    for i, event in enumerate(events, 1):
        lines.show(event, WHEN + i)
    return out.getvalue().splitlines()


def test_the_clock_is_the_events_own() -> None:
    [line] = [row for row in printed(saved("best")) if "checkpoint" in row]
    assert line.startswith(time.strftime("%H:%M:%S", time.localtime(WHEN + 1)))


@pytest.mark.parametrize(("saves", "count"), [
    ([saved("best"), saved("best")], 1), ([saved("best"), saved("best", id="7")], 2),
    ([saved("interval"), saved("end")], 1), ([saved("asked for"), saved("end")], 2)])
def test_a_checkpoint_is_told_once_for_each_reason(saves: list[e.CheckpointSaved], count: int) -> None:
    assert len([row for row in printed(*saves) if re.search("checkpoint checkpoints/", row)]) == count


@pytest.mark.parametrize(("step_seconds", "longest"), [(4.0, 4.0), (1.0, 5.0), (0.2, 5.0)])
def test_where_a_step_takes_seconds_a_line_comes_with_the_step_that_is_nearest_to_its_time(step_seconds: float,
                                                                                            longest: float) -> None:
    now, printed_at, out = 0.0, [0.0], io.StringIO()
    lines = PlainOutput(out, "runs/x", clock=lambda: now)
    for step in range(1, round(60 / step_seconds)):
        now, before = step * step_seconds, len(out.getvalue())
        lines.show(steps(step, 1), WHEN)
        if len(out.getvalue()) > before:
            printed_at.append(now)
    gaps = [after - earlier for earlier, after in pairwise(printed_at)]
    assert max(gaps) <= longest + 1e-9 and min(gaps[1:]) >= min(longest, 5.0) - step_seconds / 2 - 1e-9
