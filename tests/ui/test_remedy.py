"""R says exactly what it will do, and does that after enter; the dialog of a rollback stands on the same point."""

from dataclasses import replace
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Static

from tests.builders import healthy, steps
from tests.ui.ills import ill
from tests.ui.script import Script, drive, until
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import Confirm, PickPoint
from tuitrain.ui.why import Why

OFF = e.KnobChanged(branch=0, step=1640, name="clip", old=1.0, new=0.0, id="1", by="you")
KNOBS = {"lr": 0.003, "clip": 1.0, "temperature": [1.0], "prompt": "random", "steps": 2000}
BACK = e.RolledBack(from_branch=0, from_step=1640, to_step=500, branch=1, parent=0, id="1", by="you", asked=None,
                    point="b0-s500", knobs=KNOBS)


def point(step: int, *, branch: int = 0, healthy: bool = True) -> e.SnapshotTaken:
    return e.SnapshotTaken(branch=branch, step=step, id="", by="", reason="interval", pinned=False, bytes=1000,
                           point=f"s{branch}{step}", healthy=healthy)


def spike(step: int, branch: int = 0) -> f.WarningRaised:
    return f.WarningRaised(branch=branch, step=step, onset=step, rule="spike", value=40.0, threshold=20.0, sentence="")


def broke(branch: int, step: int) -> list[e.Event]:
    """An alarm and its verdict."""
    story = ill("lr too high")
    alarm = next(x for x in story if isinstance(x, f.AlarmRaised))
    verdict = next(x for x in story if isinstance(x, f.VerdictReached))
    return [replace(alarm, branch=branch, step=step, onset=step - 20),
            replace(verdict, branch=branch, step=step, onset=step - 20)]


def pressed(events: list[e.Event], *keys: str) -> tuple[list[c.Command], str, str]:
    """(what was asked, what the question said, what was refused) after R and the keys."""
    script, said, refused = Script(events), [""], [""]

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("R")
        await pilot.pause()
        if isinstance(app.screen, Confirm):
            assert not script.asked, "nothing happens before enter"
            said[0] = "\n".join(str(words.render()) for words in app.screen.query(Static))
        refused[0] = app.view.refused
        await pilot.press(*keys)
        await until(lambda: app.screen is app.cockpit)

    drive(script, act)
    return script.asked, said[0], refused[0]


def test_it_says_step_loss_and_knobs_and_does_just_that() -> None:
    asked, said, _ = pressed([*ill("explosion"), OFF], "enter")
    assert "back to step 500 (on disk, branch 0), 1,080 steps before the trouble" in said
    assert "1,140 steps since then are left" in said and "lr 0.003 → 0.00075 · clip off → 1.5" in said
    [rollback] = asked
    assert isinstance(rollback, c.Rollback)
    assert replace(rollback, id="") == c.Rollback(id="", by="you", point="b0-s500", healthy=True, lr=0.00075, clip=1.5)


def test_escape_leaves_all_as_it_is() -> None:
    asked, said, _ = pressed(ill("explosion"), "escape")
    assert said and not asked


def test_a_text_that_changed_is_left_out_and_the_steps_stay_as_they_are() -> None:
    asked, said, _ = pressed(ill("bad data"), "enter")
    assert "1,501 batches are left out" in said and "lr stays 0.003, clip stays 1" in said
    [rollback] = asked
    assert isinstance(rollback, c.Rollback) and rollback.skip_batches == 1501
    assert rollback.lr is None and rollback.clip is None


def test_a_point_whose_own_loss_was_broken_and_one_of_another_line_are_passed_over() -> None:
    points = [point(1300), point(1450, healthy=False)]
    _, said, _ = pressed([*points, *ill("lr too high")], "escape")
    assert "back to step 1,300" in said
    again = [*ill("explosion"), point(1590, branch=0), BACK, *(steps(s, 50, branch=1) for s in range(501, 1701, 50)),
             point(1400, branch=1), spike(1550, branch=0), *broke(1, 1700)]
    _, said, _ = pressed(again, "escape")
    assert "back to step 1,400" in said and "280 steps before the trouble" in said, "no spike of branch 0 counts"


@pytest.mark.parametrize("events", [healthy(), [*ill("explosion"), BACK], ill("overfitting")])
def test_where_nothing_stands_it_says_so(events: list[e.Event]) -> None:
    asked, said, refused = pressed(events)
    assert not asked and not said and "nothing is broken" in refused


def test_a_model_that_learns_nothing_is_not_sent_back() -> None:
    story = [replace(x, cause="plateau", remedy="+: raise the learning rate") if isinstance(x, f.VerdictReached) else x
             for x in ill("dead")]
    asked, _, refused = pressed(story)
    assert not asked and "going back is no remedy" in refused and "+: raise the learning rate" in refused


@pytest.mark.parametrize(("key", "asks"), [("R", Confirm), ("r", PickPoint)])
def test_what_is_asked_on_the_why_screen_is_answered(key: str, asks: type[Screen[Any]]) -> None:
    script = Script(ill("explosion"))

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("w")
        assert isinstance(app.screen, Why)
        await pilot.press(key)
        await until(lambda: isinstance(app.screen, asks))
        await pilot.press("enter")
        await until(lambda: bool(script.asked))

    drive(script, act)
    assert isinstance(script.asked[0], c.Rollback)
