"""Futures from the cockpit: arms proposed with their cost, the table as it grows, an arm cut, chosen; did this help?"""

from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import DataTable, SelectionList, Static

from tests.builders import healthy, steps
from tests.ui.script import Script, drive, until
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import Confirm
from tuitrain.ui.panes.loss import LossPane
from tuitrain.ui.race import AskRace, Boxes, RaceTable
from tuitrain.watching.offers import NO_RACE

NAN = float("nan")
BEGAN = e.RaceStarted(race="from-600-1", branch=0, step=600, point="s9", arms=("as it is", "lr x0.25", "clip 0.4"),
                      steps=200, where="in turn on this machine", stands=True, id="1", by="you")
PAUSED = e.Paused(branch=0, step=600, id="", by="race")


def advanced(arm: int, first: int, count: int, **values: Any) -> e.ArmAdvanced:
    told: dict[str, Any] = {
        "state": "", "difference": -0.012 if arm > 1 else NAN, "error": 0.004 if arm > 1 else NAN, "validation": NAN,
        "validation_difference": NAN, "validation_error": NAN, "tail": 1.3, "largest": 1.9, "clipped": 0.0,
        "update": 0.002, "growth": 0.01, "radius_before": 5.5, "radius": 6.1, "signs": ()}
    return e.ArmAdvanced(race=BEGAN.race, arm=arm, folder=f"{BEGAN.race}/{arm}-x", first_step=first,
                         loss=tuple(1.3 - 0.0005 * (first + i - 600) for i in range(count)), **{**told, **values})


def race() -> list[e.Event]:
    """One arm whole, one training, one that waits."""
    return [BEGAN, PAUSED, advanced(1, 601, 200, state="whole", validation=1.25, sample="The tide came late."),
            advanced(2, 601, 80, signs=("its radius is 40 and grows",))]


def ended() -> list[e.Event]:
    return [*race(), advanced(2, 681, 120, state="whole", validation=1.2, validation_difference=-0.05,
                              validation_error=0.006, sample="The harbour bell rang twice."),
            advanced(3, 601, 60, state="cut", validation=1.3, validation_difference=0.05, validation_error=0.01),
            e.RaceEnded(race=BEGAN.race, branch=0, step=600, reason="finished", recommended=2, runner_up=1,
                        sentences=("no arm broke within 200 steps", "recommended: lr x0.25, validation 1.731 bpc"),
                        advice="recommended: lr x0.25, validation 1.731 bpc")]


def table(app: CockpitApp) -> list[list[str]]:
    found = app.screen.query_one(DataTable)
    return [[str(cell) for cell in found.get_row_at(i)] for i in range(found.row_count)]


def words(app: CockpitApp) -> str:
    return str(app.screen.query_one("#preview", Static).render())


def test_arms_are_proposed_with_what_they_cost_and_taken_in_and_out() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("f")
        assert isinstance(app.screen, AskRace)
        assert "3,000 steps, about" in words(app) or "steps, about" in words(app)
        assert "training stands meanwhile" in words(app) and "on disk" in words(app)
        names = [str(option.prompt) for option in app.screen.query_one(SelectionList)._options]
        assert [name for name in names if name.startswith("lr")] == ["lr x0.5", "lr x0.25", "lr x0.1"]
        for _ in names:
            await pilot.press("space", "down")
        await until(lambda: "no arm is chosen" in words(app))
        await pilot.press("enter")
        assert isinstance(app.screen, AskRace), "nothing to race"
        await pilot.press("tab", *"50", "tab", *"lr=x3 clip=0.5", "enter")
        await until(lambda: bool(script.asked))

    drive(script, act)
    [asked] = script.asked
    assert isinstance(asked, c.StartRace)
    assert (asked.arms, asked.steps, asked.shares) == (("lr=x3 clip=0.5",), 50, True)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_table_grows_and_an_arm_can_be_cut_while_the_race_goes_on(size: tuple[int, int]) -> None:
    script = Script([*healthy(), *race()])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("f")
        assert isinstance(app.screen, RaceTable)
        rows = table(app)
        assert [row[0].strip() for row in rows] == ["as it is", "lr x0.25", "clip 0.4"]
        assert [row[1] for row in rows] == ["whole", "40 %", "waits"] and rows[1][2] == "-0.017 ± 0.006"
        assert rows[1][6] == "yes"
        await pilot.press("enter")
        assert "the race goes on" in words(app)
        await pilot.press("down", "c")
        await until(lambda: bool(script.asked))
        assert script.asked[-1] == replace(script.asked[-1], arm=2) and isinstance(script.asked[-1], c.CutArm)
        script.say(advanced(2, 681, 40))
        await until(lambda: table(app)[1][1] == "60 %")
        await pilot.press("x")
        await until(lambda: isinstance(script.asked[-1], c.CancelRace))
        await pilot.press("escape")
        assert app.screen is app.cockpit

    drive(script, act, size=size)


def test_the_recommended_arm_is_marked_and_any_that_ended_can_be_chosen() -> None:
    script = Script([*healthy(), *ended()])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("f", "down")
        assert table(app)[1][0].startswith("★") and "recommended: lr x0.25" in words(app)
        assert "The harbour bell rang twice." in words(app)
        await pilot.press("down", "enter")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await until(lambda: bool(script.asked))
        assert script.asked == [replace(script.asked[0], arm="from-600-1/3-x")]
        await pilot.press("f", "n")
        await until(lambda: isinstance(app.screen, AskRace))

    drive(script, act)


def test_the_table_opens_by_itself_when_the_race_has_begun() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("f", "enter")
        await until(lambda: bool(script.asked))
        script.say(*race())
        await until(lambda: isinstance(app.screen, RaceTable))

    drive(script, act)


def test_a_replay_shows_the_race_and_asks_for_none() -> None:
    script = Script([*healthy(), *ended()])
    script.connection = "replay"

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: app.state.race is not None and bool(app.state.race.ended))
        await pilot.press("f")
        assert isinstance(app.screen, RaceTable) and len(table(app)) == 3
        await pilot.press("n")
        await until(lambda: app.screen is app.cockpit)
        assert "replay" in app.view.refused

    drive(script, act, live=False)
    assert not script.asked


def test_a_watched_loop_does_not_offer_it_and_says_why() -> None:
    lacking = replace(EVERYTHING, commands={**EVERYTHING.commands, "StartRace": NO_RACE, "JudgeIntervention": NO_RACE})
    first = healthy()[0]
    assert isinstance(first, e.RunStarted)
    script = Script([replace(first, facts={**first.facts, **lacking.to_facts()}), *healthy()[1:]])

    async def act(app: CockpitApp, pilot: Any) -> None:
        for key in "fh":
            await pilot.press(key)
            assert app.screen is app.cockpit and app.view.refused == NO_RACE

    drive(script, act)


def test_an_act_is_picked_and_a_control_asked_for() -> None:
    script = Script([*healthy(), e.KnobChanged(branch=0, step=600, name="lr", old=0.003, new=0.0015, id="1", by="you"),
                     steps(601, 60)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: app.state.step == 660)
        await pilot.press("h", "enter")
        await until(lambda: bool(script.asked))

    drive(script, act)
    [asked] = script.asked
    assert isinstance(asked, c.JudgeIntervention) and (asked.branch, asked.step) == (0, 600)


def test_where_nothing_was_done_there_is_nothing_to_judge() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("h")
        assert "to be judged" in app.view.refused

    drive(script, act)


def test_each_arm_is_a_ghost_beside_the_loss() -> None:
    state = RunState()
    for event in [*healthy(), *race()]:
        state.fold(event)
    script = Script([*healthy(), *race()])

    async def act(app: CockpitApp, pilot: Any) -> None:
        chart = app.cockpit.query_one(LossPane)._chart(app.state, app.view)
        dim = app.cockpit.query_one(LossPane).palette().dim
        ghosts = [curve for curve in chart.curves if curve.colour == dim and len(curve.x)]
        assert [len(curve.x) > 10 for curve in ghosts] == [True, True] and max(ghosts[0].x) > 795
        assert chart.x[1] >= 800

    drive(script, act)


def test_a_box_shows_without_colours_if_it_is_ticked() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("f", "space")
        boxes = app.screen.query_one(Boxes)

        def ticks() -> list[str]:
            return [boxes.render_line(y).text.strip()[:3] for y in range(boxes.option_count)]

        await until(lambda: ticks() == ["[ ]", *["[x]"] * (boxes.option_count - 2), "[ ]"])

    drive(Script(healthy()), act)
