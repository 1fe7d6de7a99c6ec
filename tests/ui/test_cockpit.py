"""Every key asks what it should; what is shown is what was said; nothing from outside is obeyed by the terminal."""

import asyncio
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from textual.events import Key
from textual.widgets import DataTable, Input, Static

from tests.builders import healthy, sample, steps
from tests.ui.ills import ill
from tests.ui.script import Script, drive, screen, settled, until
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.telemetry import glossary
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import AskValue, Choose, Help, PickPoint, Scrolled
from tuitrain.ui.find import found
from tuitrain.ui.keys import TABLE
from tuitrain.ui.palette import LIGHT
from tuitrain.ui.panes import log
from tuitrain.ui.panes.log import LogPane
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import nice_limits, nice_ticks, thin
from tuitrain.ui.values import rung
from tuitrain.ui.why import Why

TURNED = [
    e.SnapshotTaken(branch=0, step=600, id="", by="you", reason="before lr 0.006 → 0.003", pinned=True, bytes=3_450_000,
                    point="s8"),
    e.KnobChanged(branch=0, step=600, name="lr", old=0.006, new=0.003, id="1", by="you")]
ASKS = [
    (["a"], c.SetKnob, {"name": "clip", "value": "auto"}),
    (["space"], c.Pause, {}),
    (["minus"], c.ScaleKnob, {"name": "lr", "factor": 0.5}),
    (["plus"], c.ScaleKnob, {"name": "lr", "factor": 2.0}),
    (["l", "0", ".", "0", "1", "enter"], c.SetKnob, {"name": "lr", "value": 0.01}),
    (["["], c.SetKnob, {"name": "clip", "value": 0.8}),
    (["]"], c.SetKnob, {"name": "clip", "value": 1.25}),
    (["c", "2", "enter"], c.SetKnob, {"name": "clip", "value": 2.0}),
    (["c", "0", "enter"], c.SetKnob, {"name": "clip", "value": 0.0}),
    ([","], c.SetKnob, {"name": "temperature", "value": (0.45, 0.7, 0.95)}),
    (["."], c.SetKnob, {"name": "temperature", "value": (0.55, 0.8, 1.05)}),
    (["p", "h", "i", "enter"], c.SetPrompt, {"text": "hi"}),
    (["r", "enter"], c.Rollback, {"point": "", "lr_factor": None, "clip": None}),
    (["r", "down", "down", "enter"], c.Rollback, {"point": "b0-s500", "lr_factor": None}),
    (["r", "down", "down", "down", "tab", "0", ".", "0", "0", "1", "5", "enter"], c.Rollback,
     {"point": "s7", "lr": 0.0015, "lr_factor": None, "clip": None}),
    (["u", "enter"], c.Undo, {"weights": False}),
    (["u", "down", "enter"], c.Undo, {"weights": True}),
    (["s"], c.DrawSample, {}),
    (["v"], c.Evaluate, {}),
    (["k"], c.SaveCheckpoint, {}),
    (["n", "5", "0", "0", "enter"], c.Land, {"steps": 500}),
    (["g", "down", "enter"], c.SetGuardMode, {"mode": "pause"}),
    (["m", "o", "k", "enter"], c.AddNote, {"text": "ok"}),
    (["f", "enter"], c.StartRace, {"steps": 600, "shares": False, "point": ""}),
    (["q", "down", "down", "enter"], c.Stop, {"exit_code": 0}),
]


@pytest.mark.parametrize(("keys", "command", "words"), ASKS, ids=lambda x: "+".join(x) if isinstance(x, list) else "")
def test_a_key_asks(keys: list[str], command: type[c.Command], words: dict[str, Any]) -> None:
    script = Script([*healthy(), *TURNED])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(*keys)
        await until(lambda: bool(script.asked))

    drive(script, act)
    [asked] = script.asked
    assert type(asked) is command and asked.by == "you"
    assert {name: getattr(asked, name) for name in words} == words


ELSEWHERE = {"R", "h"}
"""Ask only where something is broken, or was done: test_remedy, test_race_screen."""
VIEW_KEYS = {"w", "x", "z", "y", "<", ">", "/", "t", "d", "?", "^s", "^l", "^z"}


def test_every_key_of_the_table_is_tried_here() -> None:
    faces = {"space": "␣", "minus": "-", "plus": "+"}
    tried = {faces.get(keys[0], keys[0]) for keys, _, _ in ASKS} | VIEW_KEYS | ELSEWHERE
    assert {k.face for k in TABLE} == tried
    app = CockpitApp(Path("runs/x"), lambda: Script(healthy()))
    assert [k.action for k in TABLE if not callable(getattr(app, "action_" + k.action.split("(")[0], None))] == []


@pytest.mark.parametrize(("keys", "dialog"), [("c", AskValue), ("r", PickPoint), ("u", Choose),
                                              ("question_mark", Help), ("w", Why)])
def test_escape_leaves_everything_as_it_was(keys: str, dialog: type) -> None:
    script = Script([*healthy(), *TURNED])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(keys)
        assert isinstance(app.screen, dialog)
        await pilot.press("escape")
        assert app.screen is app.cockpit

    drive(script, act)
    assert not script.asked


def test_what_a_key_was_answered_is_shown_without_a_mark_and_gone_with_the_next_key() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("c", "1", "enter")
        await until(lambda: bool(script.asked))
        script.say(e.EngineSaid(text="clip is 1 already", id=script.asked[0].id, by="you"))
        await until(lambda: "clip is 1 already" in screen(app))
        assert "refused" not in screen(app) and not app.state.story.marks
        await pilot.press("y")
        await until(lambda: "clip is 1 already" not in screen(app))

    drive(script, act)


def test_asked_is_told_from_confirmed_and_a_refusal_says_why() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("]")
        assert "clip 1  asked 1.25 …" in screen(app)
        await pilot.press("]")  # the next rung above what was asked, not above what is confirmed
        assert [x.value for x in script.asked] == [1.25, 1.6]  # type: ignore[attr-defined]
        script.say(e.KnobChanged(branch=0, step=601, name="clip", old=1.0, new=1.25, id=script.asked[0].id, by="you"),
                   e.CommandRefused(id=script.asked[1].id, by="you", reason="not now"))
        await until(lambda: not app.view.asked)
        assert "clip 1.25" in screen(app) and "asked" not in screen(app) and "refused: not now" in screen(app)
        assert any("clip 1 → 1.25" in line.text for line in app.cockpit.query_one(LogPane).lines)

    drive(script, act)


def test_a_clip_is_previewed_on_the_runs_own_norms() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("c", *"0.3")
        words = str(app.screen.query_one("#preview", Static).render())
        assert words.startswith("0.3 would have clipped 5") and "last 500 steps" in words
        await pilot.press("x")
        assert "a number" in str(app.screen.query_one("#preview", Static).render())
        await pilot.press("enter")
        assert isinstance(app.screen, AskValue)

    script = Script(healthy())
    drive(script, act)
    assert not script.asked


def test_the_picker_shows_every_point_and_what_would_be_lost() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("r", "down", "down")
        table = app.screen.query_one(DataTable)
        assert [str(table.get_row_at(i)[0]) for i in range(table.row_count)] == ["last good", "500", "300"]
        assert "leaves 300 steps" in str(app.screen.query_one("#preview", Static).render())
        assert app.screen.query_one("#clip", Input).value == "1"

    drive(Script(healthy()), act)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 16)])
@pytest.mark.parametrize("braille", [True, False])
def test_a_healthy_run_shows_its_numbers_at_every_size(size: tuple[int, int], braille: bool) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        text = screen(app)
        for words in ("train 2.", "val 2.308", "now 0.3", "clip 1", "lr   0.003", "harbour",
                      "● running" if braille else "* running", "q quit"):
            assert words in text, words
        for pane in app.cockpit.query(Picture):
            assert all(pane.render_line(y).cell_length == pane.content_size.width
                       for y in range(pane.content_size.height)), pane
        if not braille:
            assert text.isascii()

    drive(Script(healthy()), act, size=size, braille=braille)


@pytest.mark.parametrize("size", [(50, 12), (20, 8), (1, 1)])
def test_a_tiny_terminal_gets_numbers_and_no_crash(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        if size[1] > 8:
            assert "make me larger for plots" in screen(app)
        await pilot.resize_terminal(120, 40)
        await pilot.resize_terminal(*size)

    drive(Script(healthy()), act, size=size)


def test_escape_sequences_from_anywhere_stay_words() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m"
    script = Script([*healthy(), sample(evil + "a" * 80), e.NoteAdded(branch=0, step=3, text=evil, id="", by=evil),
                     e.KnobChanged(branch=0, step=3, name="prompt", old="", new=evil, id="", by=evil)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: len(app.cockpit.query_one(LogPane).lines) > 1)
        app.redraw(at_once=True)
        everything = screen(app) + "".join(line.text for line in app.cockpit.query_one(LogPane).lines)
        assert "owned" in everything
        assert not any((ord(ch) < 32 and ch != "\n") or 127 <= ord(ch) < 160 for ch in everything)

    drive(script, act, run=f"runs/{evil}")


def test_numbers_that_are_not_finite_are_marked_and_drawn_around() -> None:
    script = Script([*healthy(), steps(601, 50, loss=float("nan"), norm=float("inf")), steps(651, 50, norm=0.0)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert "▲" in screen(app)

    drive(script, act)


def test_the_whole_screen_starts_before_there_is_an_engine_and_says_when_it_is_gone() -> None:
    script = Script()

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: "no steps yet" in screen(app) and "… starting" in screen(app))
        script.say(*healthy())
        await until(lambda: app.state.step == 600)
        script.closed = True
        await until(lambda: app.view.connection == "gone")
        assert "engine gone" in screen(app) and "tuitrain resume" in screen(app)
        await pilot.press("s")
        assert not script.asked and "the engine is gone" in app.view.refused
        await pilot.press("q")  # nothing to save: no question

    app = drive(script, act, live=False)
    assert app.return_code == 0


def test_a_rollback_leaves_a_ghost_and_undo_returns_to_it() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        script.say(e.RolledBack(from_branch=0, from_step=600, to_step=300, branch=1, id="", by="guard", asked=None,
                                knobs={**app.state.knobs, "lr": 0.0015}, point="s7"), steps(301, 50, branch=1))
        await until(lambda: app.state.step == 350)
        assert app.state.losses.last_step == 350 and [x.branch for x in app.state.left] == [0]
        assert app.state.left[0].last_step == 600
        script.say(e.Undone(id="", by="you", what="rollback", branch=0, step=600, knobs=app.state.knobs))
        await until(lambda: app.state.step == 600)
        assert app.state.losses.last_step == 600 and [x.branch for x in app.state.left] == [1]

    drive(script, act)


def test_panes_maximise_filter_and_windows() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("2", "z")
        assert app.cockpit.query_one("#sample").size.width > 110
        await pilot.press("z")
        assert app.cockpit.query_one("#sample").size.width < 60
        await pilot.press("less_than_sign", "y")
        assert app.view.window == 2000 and app.view.log_axis
        await pilot.press("slash", *"best", "enter")
        await until(lambda: len(app.cockpit.query_one(LogPane).lines) == 1)
        before = app.theme
        await pilot.press("t")
        assert app.theme != before and not app.current_theme.dark
        await until(lambda: LIGHT.dim in {s.style.color.name for line in app.cockpit.query_one(LogPane).lines
                                          for s in line if s.style and s.style.color})
        await pilot.press("t", "t", "d")

    assert drive(Script(healthy()), act).return_code == 0


def test_the_ladder() -> None:
    assert [rung(1.0, 1), rung(8.0, 1), rung(1.0, -1), rung(0.0, 1), rung(0.0, -1), rung(1.1, 1), rung(0.1, -1)] == [
        1.25, 10.0, 0.8, 1.0, 0.0, 1.25, 0.08]


@given(st.floats(-1e3, 1e3), st.floats(0, 1e4), st.floats(1e-3, 10))
def test_limits_are_round_and_hold_what_they_limit(low: float, span: float, least: float) -> None:
    bottom, top = nice_limits(np.array([low, low + span, np.nan]), least)
    slack = 1e-6 * max(1.0, abs(low) + span)
    assert bottom <= low + slack and top >= low + span - slack and top - bottom >= least - slack
    assert len(nice_ticks(bottom, top, 5)) <= 7


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=400), st.integers(2, 60))
def test_a_thinned_curve_keeps_its_extremes(values: list[float], columns: int) -> None:
    x, y = thin(np.arange(len(values)), np.array(values), columns)
    assert len(x) == len(y) <= max(2 * columns, 1) and (y.min(), y.max()) == (min(values), max(values))


def test_a_pane_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def act(app: CockpitApp, pilot: Any) -> None:
        monkeypatch.setattr(type(app.cockpit.query_one("#loss")), "lines", fail)
        app.cockpit.show(app.state, app.view, math.inf)
        assert "the pane loss failed: ZeroDivisionError" in app.view.remark

    drive(Script(healthy()), act)


def test_keys_typed_in_one_burst_keep_their_order() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("c")
        await until(lambda: isinstance(app.focused, Input))
        for key in ("9", "9", "backspace", "backspace", "4", "home", "2", "end", "backspace", "7"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(lambda: isinstance(app.focused, Input) and app.focused.value == "27")

    drive(script, act)


@pytest.mark.parametrize(("opening", "closing"), [
    ("u", "enter"), ("g", "enter"), ("q", "enter"), ("r", "enter"), ("c", "enter"), ("m", "escape"), ("w", "w"),
    ("question_mark", "q"), ("ctrl+p", "escape")])
def test_keys_that_come_while_a_dialog_closes_leave_the_cockpit_where_it_is(opening: str, closing: str) -> None:
    """The second one used to close the cockpit below: a blank screen that nothing brought back."""
    script = Script([*healthy(), *TURNED])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(opening)
        await until(lambda: app.screen is not app.cockpit and app.screen.is_mounted)
        for _ in range(3):
            app.post_message(Key(closing, None))
        await until(lambda: app.screen is app.cockpit)
        await pilot.press("z", "escape", "s")  # still obeyed, and the last one shows that all have been read
        await until(lambda: any(isinstance(x, c.DrawSample) for x in script.asked))
        assert app.screen is app.cockpit and app.screen_stack == [app.cockpit]

    drive(script, act)
    assert len([x for x in script.asked if not isinstance(x, c.DrawSample)]) <= 1


def test_a_key_for_a_dialog_below_another_does_not_close_the_one_on_top() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("u")
        below = app.screen
        answers: list[str | None] = []
        above = Choose("another?", [("stay", "stay")])
        await app.push_screen(above, answers.append)
        below.dismiss("knob")  # type: ignore[attr-defined]
        await pilot.pause()
        assert app.screen is above and not answers

    script = Script([*healthy(), *TURNED])
    drive(script, act)
    assert not script.asked


def test_a_hint_is_shown_to_who_needs_one_and_help_has_panes_keys_and_words() -> None:
    from textual.widgets._toast import Toast

    app = CockpitApp(Path("runs/x"), lambda: Script(healthy()), hint="line 1\nline 2\nline 3")
    seen: list[str] = []

    async def sitting() -> None:
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(lambda: bool(app.screen.query(Toast)))
            seen.append(str(app.screen.query_one(Toast).render()))
            await pilot.press("question_mark")
            await until(lambda: isinstance(app.screen, Help))
            await pilot.pause()
            for table in app.screen.query(Static):
                console = Console(width=90, record=True, file=io.StringIO())
                console.print(table.content)
                seen.append(console.export_text())

    asyncio.run(sitting())
    text = " ".join(" ".join(seen).split())
    assert "line 3" in text and "halve the learning rate" in text
    assert all(" ".join(words.split()) in text for words in (glossary.PANES["loss"][:40], glossary.WORDS["bpc"][:40]))


def test_the_whole_screen_is_drawn_again_on_request_also_over_a_dialog() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        forgotten: list[bool] = []
        app.forget_screen = lambda: forgotten.append(True)
        await pilot.press("ctrl+l")
        await until(lambda: len(forgotten) == 1)
        await pilot.press("question_mark", "ctrl+l")
        await until(lambda: len(forgotten) == 2)

    drive(Script(healthy()), act)


def test_every_key_is_found_by_its_words() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert found("") == list(TABLE) and found("no such words") == []
        await pilot.press("ctrl+p", *"rate double", "enter")
        await until(lambda: bool(script.asked))
        await pilot.press("ctrl+p", *"restore", "down", "up", "enter")
        await until(lambda: isinstance(app.screen, PickPoint))

    drive(script, act)
    assert script.asked == [c.ScaleKnob(id=script.asked[0].id, by="you", name="lr", factor=2.0)]


@pytest.mark.parametrize("keys", ["x", "xy", "yyyy"])
def test_keys_typed_while_the_search_closes_change_nothing(keys: str) -> None:
    """They used to start a search on a closed screen, which ended the cockpit."""
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("ctrl+p", "l")
        for key in ("escape", *keys):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(lambda: app.screen is app.cockpit)
        await pilot.pause()
        await pilot.press("s")
        await until(lambda: any(isinstance(x, c.DrawSample) for x in script.asked))

    script = Script(healthy())
    drive(script, act)


def test_who_has_the_session_already_sees_the_whole_picture_in_the_first_frame() -> None:
    script = Script(healthy())
    for event in healthy():
        script.state.fold(event)
    app = CockpitApp(Path("runs/x"), lambda: script, at_once=True)

    async def sitting() -> None:
        async with app.run_test(size=(120, 40)):
            assert app.view.connection == "live"
            await until(lambda: "train" in screen(app) and "harbour" in screen(app))

    asyncio.run(sitting())


def long_log() -> tuple[CockpitApp, Callable[[], str]]:
    script = Script([])
    for event in [*healthy(), *(e.NoteAdded(branch=0, step=i, text=f"note {i}", id="", by="you") for i in range(200))]:
        script.state.fold(event)
    app = CockpitApp(Path("runs/x"), lambda: script, at_once=True)
    return app, lambda: "\n".join(line.text for line in app.cockpit.query_one(LogPane).lines)


def test_a_long_log_begins_with_its_newest_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "AFTER", 3600.0)
    app, shown = long_log()

    async def sitting() -> None:
        async with app.run_test(size=(120, 40)):
            await until(lambda: "note 199" in shown())
            assert "note 100" not in shown()

    asyncio.run(sitting())


def test_the_other_lines_of_a_long_log_come_after_the_first_picture() -> None:
    app, shown = long_log()

    async def sitting() -> None:
        async with app.run_test(size=(120, 40)):
            pane = app.cockpit.query_one(LogPane)
            await until(lambda: all(f"note {n}" in shown() for n in (1, 100, 199)) and pane.is_vertical_scroll_end)

    asyncio.run(sitting())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("key", ["w", "question_mark"])
def test_a_dialog_that_scrolls_says_how_much_is_below(key: str, size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(key)
        box = app.screen.query_one(Scrolled)
        await until(lambda: box.max_scroll_y > 0 and box.border_subtitle == f"↓ {box.max_scroll_y} more lines")
        await pilot.press("end")
        await until(lambda: box.border_subtitle == "")

    drive(Script(ill("lr too high")), act, size=size)


def test_a_look_at_a_run_of_another_machine_names_it_and_its_dead_keys_are_dim() -> None:
    script = Script(healthy())
    script.connection, script.elsewhere = "read-only", "node-17"

    async def act(app: CockpitApp, pilot: Any) -> None:
        await settled(app, pilot)
        assert "● running, read-only from node-17" in screen(app)
        [row] = [strip for strip in [app.cockpit.query_one("#footer", Picture).render_line(0)] if strip.text]
        struck = "".join(s.text for s in row if s.style and s.style.strike)
        assert all(words in struck for words in ("u undo", "r roll back", "␣ pause"))
        assert all(words in row.text and words not in struck for words in ("? help", "w why", "q quit", "d detach"))
        await pilot.press("u")
        await until(lambda: "steer it on node-17" in " ".join(app.view.refused.split()))

    drive(script, act, live=False)
    assert not script.asked


@pytest.mark.parametrize("key", ["r", "R", "u", "g", "m", "n", "l", "c", "p", "space", "k"])
def test_where_nothing_can_be_asked_a_key_says_so_instead_of_opening_a_dialog(key: str) -> None:
    script = Script([*healthy(), e.Paused(branch=0, step=600, id="", by="script")])
    script.connection = "read-only"

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: app.state.status == "paused")
        await pilot.press(key)
        assert app.screen is app.cockpit
        await until(lambda: "this is a read-only" in screen(app) and "paused by script, read-only" in screen(app))

    drive(script, act, live=False)
    assert not script.asked
