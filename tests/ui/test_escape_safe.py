"""Every string of every event and of the state filled with what a terminal obeys: nothing of it is sent to one."""

import dataclasses
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tests.builders import healthy
from tests.ui.ills import ill
from tests.ui.script import Script, drive
from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import sentence
from tuitrain.telemetry.units import plain_output
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.dialogs import AskValue, Choose
from tuitrain.ui.gone import EngineGone
from tuitrain.ui.picture import _strip

EVIL = "\x1b[2Jx\x1b]0;t\x07\x9b31m\r\x7f\u202e\u2066"


def obeyed(text: str) -> list[str]:
    return [c for c in text if (unicodedata.category(c) == "Cc" and c != "\n") or c in "\u202e\u2066"]


@pytest.mark.parametrize("kind", [
    name for name, cls in sorted(codec.registry(e.Event).items())
    if str in get_type_hints(cls).values() and set(get_type_hints(cls).values()) <= {str, int, float, bool}])
def test_no_string_of_an_event_reaches_the_terminal_raw(kind: str) -> None:
    cls = codec.registry(e.Event)[kind]
    hints = get_type_hints(cls)
    event = cls(**{spec.name: {str: EVIL, int: 7, float: 1.5, bool: True}[hints[spec.name]]
                   for spec in dataclasses.fields(cls)})
    state = RunState()
    state.fold(event, 1.0)
    words = [sentence(event), state.ended, state.guard, state.paused_by, state.trouble,
             *(entry.words + entry.by for entry in state.story.entries)]
    for said in [EVIL, *words]:
        assert not obeyed(plain_output(said, terminal=True)) and not obeyed(plain_output(said, terminal=False))
        assert not obeyed(_strip(Text(said), 80, True).text) and not obeyed(_strip(Text(said), 80, False).text)


# --- the whole screen, as bytes

HUGE = EVIL + "wide 漢字 e\u0301 \U0001f1e9\U0001f1ea [/red] [bold" + "x" * 600 + "\n" * 9 + EVIL
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\d+;\d+H")
"""Colours and places: what a frame of ours may say to a terminal."""
KEPT = frozenset({"event", "rule", "cause", "runner_up", "knob", "name", "point", "device"})
"""Keys whose values choose a branch somewhere: as they were in the first round, hostile in the second."""


def on_the_terminal(app: CockpitApp) -> str:
    """What a full frame of the screen that is shown would send, without colours and places."""
    console = Console(width=app.size.width, color_system="truecolor", force_terminal=True, legacy_windows=False)
    return OURS.sub("", app.screen._compositor.render_full_update().render_segments(console))


def hostile(value: Any, evil: str, kept: frozenset[str] = frozenset(), key: str = "") -> Any:
    """The same with every string in it hostile, those in lists and objects too."""
    if isinstance(value, str):
        return value if key in kept or value in ("nan", "inf", "-inf") else evil
    if isinstance(value, Mapping):
        return {name: hostile(inner, evil, kept, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hostile(inner, evil, kept, key) for inner in value)
    return value


def hostile_event(event: e.Event, evil: str, kept: frozenset[str]) -> e.Event:
    return dataclasses.replace(event, **{spec.name: hostile(getattr(event, spec.name), evil, kept, spec.name)
                                         for spec in dataclasses.fields(event)})


def stories() -> list[e.Event]:
    """Runs with all that can be wrong with them, and one event of each kind that has words in it."""
    told = [*healthy(), *ill("explosion")[-6:]]
    for cls in codec.registry(e.Event).values():
        hints = get_type_hints(cls)
        if cls not in (e.RunStarted, e.RunResumed, e.RunEnded, e.StepsDone) and str in hints.values():
            told.append(cls(**{spec.name: any_of(hints[spec.name]) for spec in dataclasses.fields(cls)}))
    return [*told, e.Paused(branch=0, step=1640, id="1", by="guard"),
            e.SavingFailed(branch=0, step=1640, path="x", reason="full", bytes_needed=1, bytes_free=0),
            e.ClientJoined(by="x", clients=3)]


def any_of(hint: Any) -> Any:
    simple = {str: "x", int: 7, float: 1.5, bool: True, float | None: 1.5, int | None: 7}
    if hint in simple:
        return simple[hint]
    return {} if get_origin(hint) not in (tuple,) else ()


DIALOGS = ("", "w", "r", "c", "l", "p", "u", "q", "question_mark", "g", "slash", "m")


@pytest.mark.parametrize(("size", "kept", "braille"), [
    ((200, 60), KEPT, True), ((80, 24), frozenset(), False), ((50, 12), frozenset(), True)],
    ids=["large", "small", "tiny"])
def test_no_pane_and_no_dialog_sends_what_a_terminal_obeys(size: tuple[int, int], kept: frozenset[str],
                                                           braille: bool) -> None:
    script = Script([hostile_event(event, HUGE, kept) for event in stories()])
    problems: list[str] = []

    async def act(app: CockpitApp, pilot: Any) -> None:
        app.view.filter = app.view.refused = app.view.remark = HUGE
        app.notify(HUGE, markup=False)
        app.link.state = RunState.from_wire(hostile(app.state.to_wire(), HUGE, KEPT | kept | {"status"}))
        for key in DIALOGS:
            if key:
                await pilot.press(key)
            app.redraw(at_once=True)
            app.redraw_plots()
            await pilot.pause()
            look(app, key)
            while app.screen is not app.cockpit:
                app.pop_screen()
                await pilot.pause()
        gone = EngineGone(Path(f"runs/{EVIL}"), app.state, 3.0)
        for dialog in (gone, AskValue(EVIL, HUGE, lambda text: (False, HUGE)), Choose(HUGE, [("a", HUGE)])):
            app.push_screen(dialog)
            await pilot.pause()
            look(app, type(dialog).__name__)
            app.pop_screen()
            await pilot.pause()

    def look(app: CockpitApp, what: str) -> None:
        sent = on_the_terminal(app)
        problems.extend(f"{what}: {c!r}" for c in set(obeyed(sent)))
        rows = sent.split("\n")
        assert len(rows) == size[1] and all(cell_len(row) == size[0] for row in rows), what

    app = drive(script, act, size=size, braille=braille, live=False, run=f"runs/{EVIL}")
    assert not problems and app._exception is None and not app.view.remark.startswith("the pane")


def test_a_title_in_a_border_is_words_not_markup() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        app.view.filter = "[red]x[/nothing]"
        app.redraw(at_once=True)
        await pilot.pause()
        assert "only “[red]x[/nothing]”" in on_the_terminal(app).replace("\n", "")

    drive(Script(healthy()), act)
