"""Somebody's own loop in several processes: `tuitrain.watch` on every rank, steered from one cockpit."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.ranks.test_processes import Ranks, asked, events, losses
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e

pytestmark = pytest.mark.slow
LOOP = str(Path(__file__).with_name("looped.py"))


def started(folder: Path, count: int, *words: str, timeout: int = 60) -> Ranks:
    return Ranks(folder, count, *words, timeout=timeout, program=(LOOP,))


def ends(folder: Path, count: int) -> list[dict[str, Any]]:
    found = []
    for rank in range(count):
        path = folder / f"rank{rank}.json"
        found.append(json.loads(path.read_text()))
        path.unlink()
    return found


def test_all_processes_follow_one_cockpit_and_a_rollback_gives_each_its_own_back(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "100000", timeout=20)
    try:
        ranks.at(60)
        answers = asked(ranks, [
            c.ScaleKnob(id="a", by="test", name="lr", factor=0.5),
            c.SetKnob(id="b", by="test", name="clip", value=0.25), c.Evaluate(id="c", by="test"),
            c.TakeSnapshot(id="d", by="test"),
            c.Rollback(id="e", by="test", to=40), c.Undo(id="f", by="test"), c.Pause(id="g", by="test"),
            c.Continue(id="h", by="test"), c.Stop(id="i", by="test")])
        assert not any(isinstance(answer, e.CommandRefused) for answer in answers.values()), answers
        assert ranks.ends() == [0, 0], ranks.output(0) + ranks.output(1)
    finally:
        ranks.kill()
    first, second = ends(tmp_path, 2)
    assert first["weights"] == second["weights"] and first["steps"] == second["steps"] > 60
    assert first["batches"] == second["batches"] and first["random"] != second["random"]
    assert "watching failed" not in ranks.output(0) + ranks.output(1)
    told = [x for x in events(ranks.run, e.Evaluated) if isinstance(x, e.Evaluated)]
    assert told and {x.loss for x in told} == {1.0}, "every process took part in the evaluation"
    [began] = [x for x in events(ranks.run, e.RunStarted) if isinstance(x, e.RunStarted)]
    assert began.processes == 2 and len(began.facts["ranks"]) == 2


def test_saved_by_two_and_continued_by_two_and_one(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "60")
    assert ranks.ends() == [0, 0], ranks.output(0) + ranks.output(1)
    one, two = ends(tmp_path, 2)
    for count, steps, exact in ((2, 90, True), (1, 110, False)):
        again = started(tmp_path, count, str(steps), "resume")
        assert again.ends() == [0] * count, "".join(again.output(rank) for rank in range(count))
        *_, resumed = [x for x in events(again.run, e.RunResumed) if isinstance(x, e.RunResumed)]
        assert resumed.exact == exact and resumed.processes == count, resumed.why_not
        found = ends(tmp_path, count)
        assert len({x["weights"] for x in found}) == 1 and found[0]["batches"] == steps
        assert len({x["random"] for x in found}) == count, "no two processes draw the same numbers"
        if exact:
            whole = tmp_path / "whole"
            whole.mkdir()
            assert started(whole, 2, str(steps)).ends() == [0, 0]
            assert ends(whole, 2) == found
            assert losses(again.run).keys() == {(0, step) for step in range(1, steps + 1)}
    assert one["weights"] == two["weights"]


def test_weights_that_drift_apart_are_an_alarm(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "200", "drift")
    assert ranks.ends() == [0, 0], ranks.output(0)
    said = [x.text for x in events(ranks.run, e.EngineSaid) if isinstance(x, e.EngineSaid)]
    assert sum("process 1 has other weights than process 0" in text for text in said) == 1


def test_a_death_turns_the_watching_off_and_the_state_before_it_stays(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "100000")
    try:
        ranks.at(80)
        ranks.processes[1].send_signal(signal.SIGKILL)
        codes = ranks.ends()
    finally:
        ranks.kill()
    assert codes == [1, -signal.SIGKILL], ranks.output(0)  # the loop's own error of its own group
    [end] = [x for x in events(ranks.run, e.RunEnded) if isinstance(x, e.RunEnded)]
    assert end.exit_code == 1
    again = started(tmp_path, 2, "150", "resume")
    assert again.ends() == [0, 0], again.output(0) + again.output(1)
    [resumed] = [x for x in events(again.run, e.RunResumed) if isinstance(x, e.RunResumed)]
    assert resumed.step and all(math.isfinite(x) for x in losses(again.run).values())


def test_a_process_that_cannot_restore_turns_the_watching_off_in_all(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "100000", "broken")
    try:
        ranks.at(60)
        asked(ranks, [c.TakeSnapshot(id="a", by="test"), c.Rollback(id="b", by="test", to=40)])
        ranks.says(1, "process 1 could not restore step")
        ranks.says(0, "watching failed and is off; training goes on: Lost")
        assert all(process.poll() is None for process in ranks.processes)
    finally:
        ranks.kill()


def test_a_script_that_watches_in_one_process_alone_is_watched_and_not_steered(tmp_path: Path) -> None:
    ranks = started(tmp_path, 2, "100000", "alone")
    try:
        ranks.at(30)
        [answer] = asked(ranks, [c.ScaleKnob(id="a", by="test", name="lr", factor=0.5)]).values()
        assert isinstance(answer, e.CommandRefused) and "process 0 of several" in answer.reason
    finally:
        ranks.kill()


