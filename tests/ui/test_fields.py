"""What is typed into a dialog means what it means to `send`; what cannot be read is refused before one's eyes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import Input, OptionList, Static

from tests.builders import CONFIG, FACTS, healthy, steps
from tests.ui.ills import ill
from tests.ui.script import Script, drive, until
from tuitrain.cli.send import parse
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import AskValue, Choose, PickPoint

OFF = e.KnobChanged(branch=0, step=1640, name="clip", old=1.0, new=0.0, id="1", by="you")
LR, CLIP = ["r", "down", "down", "tab"], ["r", "down", "down", "tab", "tab"]


def preview(app: CockpitApp) -> str:
    return str(app.screen.query_one("#preview", Static).render())


def asked_by(script: Script, *keys: str) -> c.Command:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(*keys)
        await until(lambda: bool(script.asked))

    drive(script, act)
    [asked] = script.asked
    return asked


@pytest.mark.parametrize(("key", "name", "text"), [
    ("l", "lr", "x0.5"), ("l", "lr", "0.001"), ("c", "clip", "x0.5"), ("c", "clip", "0.3"), ("c", "clip", "off"),
    ("c", "clip", "auto")])
def test_a_field_takes_what_send_takes(key: str, name: str, text: str) -> None:
    asked = asked_by(Script(healthy()), key, *text, "enter")
    assert replace(asked, id="", by="") == parse([name, text], "", "")


@pytest.mark.parametrize(("keys", "word"), [(LR, "lr=x0.5"), (LR, "lr=0.001"), (CLIP, "clip=x0.5"), (CLIP, "clip=off"),
                                            (CLIP, "clip=auto"), (CLIP, "clip=0.25")])
def test_the_fields_of_a_rollback_do_too(keys: list[str], word: str) -> None:
    asked = asked_by(Script(healthy()), *keys, *word.partition("=")[2], "enter")
    assert replace(asked, id="", by="") == replace(parse(["rollback", word], "", ""), point="s7")  # type: ignore[call-arg]


@pytest.mark.parametrize(("keys", "typed", "said"), [
    (["l"], "fast", "lr: 'fast' is not a number, as 0.001 or x0.5 are"), (["l"], "50", "lr 50 is outside 0 to 10"),
    (["l"], "x", "is not a number"), (["l"], "auto", "is not a number"), (["c"], "nan", "not a finite number"),
    (["n"], "1.5", "not a whole number"), (LR, "0.5z", "lr: '0.5z' is not a number"),
    (CLIP, "-1", "clip -1 is outside"), (LR, "x-2", "the factor must be a finite number above 0")])
def test_what_cannot_be_read_is_kept_and_refused(keys: list[str], typed: str, said: str) -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(*keys, *typed)
        await until(lambda: said in preview(app))
        assert isinstance(app.focused, Input) and app.focused.value == typed, "no key is dropped"
        await pilot.press("enter")
        assert isinstance(app.screen, AskValue | PickPoint) and said in preview(app)
        assert app.screen.query_one("#preview").has_class("refused")

    drive(script, act)
    assert not script.asked


@pytest.mark.parametrize(("keys", "typed"), [(LR, "0.5"), (LR, "x10"), (["l"], "0.03"), (["l"], "x20"),
                                             (["r", "tab"], "0.5")])
def test_ten_times_the_rate_is_asked_about_once(keys: list[str], typed: str) -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(*keys, *typed, "enter")
        await until(lambda: "times the present 0.003: enter again if you mean it" in preview(app))
        assert not script.asked
        await pilot.press("1", "backspace", "enter")  # another text is another question
        assert "enter again" in preview(app) and not script.asked
        await pilot.press("enter")
        await until(lambda: bool(script.asked))

    drive(script, act)


def test_nine_times_the_rate_is_not_asked_about() -> None:
    asked = asked_by(Script(healthy()), "l", *"x9", "enter")
    assert isinstance(asked, c.ScaleKnob) and asked.factor == 9.0


def test_a_field_left_alone_leaves_its_knob_alone() -> None:
    asked = asked_by(Script(healthy()), *LR, "enter")
    assert isinstance(asked, c.Rollback)
    assert (asked.lr, asked.lr_factor, asked.clip, asked.clip_factor) == (None, None, None, None)


def test_after_an_alarm_a_rollback_proposes_the_remedys_values_and_point() -> None:
    script = Script([*ill("lr too high"), OFF])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("r")
        values = {name: app.screen.query_one(f"#{name}", Input).value for name in ("lr", "clip")}
        assert values == {"lr": "x0.25", "clip": "1.5"}
        await until(lambda: "lr 0.003 → 0.00075 · clip off → 1.5" in preview(app))
        assert "leaves 1,140 steps of branch 0" in preview(app), "it stands on the point before the trouble"
        await pilot.press("enter")
        await until(lambda: bool(script.asked))

    drive(script, act)
    [asked] = script.asked
    assert isinstance(asked, c.Rollback)
    assert (asked.point, asked.lr_factor, asked.clip) == ("b0-s500", 0.25, 1.5)


@pytest.mark.parametrize("answered", [
    e.RolledBack(from_branch=0, from_step=1640, to_step=300, branch=1, id="1", by="you", asked=None, point="s7",
                 knobs={"lr": 0.003, "clip": 1.0, "temperature": [1.0], "prompt": "random", "steps": 2000}),
    e.Dismissed(branch=0, step=1640, id="1", by="you")])
def test_an_alarm_that_was_answered_proposes_nothing(answered: e.Event) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("r")
        assert app.screen.query_one("#lr", Input).value == "0.003"

    drive(Script([*ill("lr too high"), answered]), act)


BACK = e.RolledBack(from_branch=0, from_step=600, to_step=300, branch=1, id="1", by="you", asked=None, point="s7",
                    knobs={"lr": 0.003, "clip": 1.0, "temperature": [1.0], "prompt": "random", "steps": 2000})
TURNED = e.KnobChanged(branch=0, step=600, name="clip", old=1.0, new=1.25, id="1", by="you")
UNDONE = e.Undone(branch=0, step=600, id="2", by="you", what="rollback", knobs=BACK.knobs)


@pytest.mark.parametrize(("told", "title", "choices"), [
    ([BACK], "undo: back from step 600", ["knob", "no"]), ([TURNED], "undo: clip 1", ["knob", "weights", "no"]),
    ([TURNED, BACK, UNDONE], "undo: clip 1", ["knob", "weights", "no"]),
    ([BACK, steps(301, 20, branch=1), replace(TURNED, id="", by="advisor")], "undo: back from", ["knob", "no"])])
def test_undo_names_what_it_takes_back_and_offers_what_means_something(
        told: list[e.Event], title: str, choices: list[str]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("u")
        assert isinstance(app.screen, Choose) and app.screen._title.startswith(title)
        options = app.screen.query_one(OptionList)
        assert [options.get_option_at_index(i).id for i in range(options.option_count)] == choices

    drive(Script([*healthy(), *told]), act)


NO_MORE = "nothing to undo since the run was started or resumed"
RESUMED = e.RunResumed(branch=0, step=600, checkpoint="b0-s500", exact=True, why_not="", config=CONFIG, vocabulary="ab",
                       versions={}, device="cpu", threads=2, precision="fp32", facts=FACTS)
GONE = e.SnapshotDropped(branch=0, step=300, point="s7")


@pytest.mark.parametrize(("told", "why"), [
    ([], NO_MORE), ([TURNED, UNDONE], NO_MORE), ([TURNED, RESUMED], NO_MORE),
    ([BACK, GONE], "the point from before the rollback is no longer in memory")])
def test_undo_does_not_offer_what_would_be_refused(told: list[e.Event], why: str) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("u")
        assert app.screen is app.cockpit and why in app.view.refused

    drive(Script([*healthy(), *told]), act)


def test_undo_offers_no_weights_that_are_gone_and_names_quick_turns_as_one() -> None:
    again = replace(TURNED, old=1.25, new=1.6, since=1.0)

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("u")
        assert isinstance(app.screen, Choose) and app.screen._title == "undo: clip 1 → 1.6?"
        assert [app.screen.query_one(OptionList).get_option_at_index(i).id for i in (0, 1)] == ["knob", "no"]

    drive(Script([*healthy(), TURNED, again, GONE]), act)


def ending(then: Callable[[Script], e.Event]) -> tuple[CockpitApp, list[bool]]:
    script, left = Script(healthy()), []

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("q", "down", "down", "enter")
        await until(lambda: bool(script.asked))
        assert app.return_code is None, "nothing is saved yet"
        script.say(then(script))
        await until(lambda: app.return_code is not None or bool(app.view.refused))
        left.append(app.return_code is not None)

    return drive(script, act), left


def test_save_and_end_leaves_when_that_is_done() -> None:
    app, left = ending(lambda script: e.RunEnded(reason="stopped", exit_code=0, branch=0, step=600))
    assert left == [True] and app.return_code == 0


def test_an_end_that_is_refused_stays() -> None:
    app, left = ending(lambda script: e.CommandRefused(id=script.asked[0].id, by="you", reason="not now"))
    assert left == [False] and not app.ending


@pytest.mark.parametrize("size", [(120, 40), (200, 60)])
def test_the_clip_dialog_leaves_the_gradient_plot_in_view(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("c")
        await until(lambda: bool(app.screen.query(".dialog")))
        await pilot.pause()
        assert not app.screen.query_one(".dialog").region.overlaps(app.cockpit.query_one("#gradients").region)
        assert "enter keeps it" in " ".join(str(label.render()) for label in app.screen.query("Label"))

    drive(Script(healthy()), act, size=size)
