"""The first line says what stands in the way, the keys do what they say at every size, over dialogs too."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import CLOCK, START, healthy, steps
from tests.ui.ills import ill, measured
from tests.ui.script import Script, drive, screen, settled, until
from tuitrain.diagnosis.guard import COUNTDOWN
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.ui.actions.viewing import THEMES
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.keys import PANES
from tuitrain.ui.panes.header import HeaderPane
from tuitrain.ui.panes.machine import MachinePane
from tuitrain.ui.picture import Picture
from tuitrain.ui.why import Why


def warned(step: int) -> f.WarningRaised:
    return f.WarningRaised(branch=0, step=step, onset=step, rule="spike", value=24.0, threshold=20.0,
                           sentence="one gradient norm of 7.2, 24 times the usual 0.3")


def first_line(app: CockpitApp) -> str:
    return app.cockpit.query_one("#header", HeaderPane).render_line(0).text


def test_what_takes_its_time_is_in_the_first_line_until_it_is_answered() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        script.say(e.WorkAdvanced(what="validation", done=3, of=10, answers="k1"))
        await until(lambda: "validation 30% …" in first_line(app))
        script.say(e.CommandRefused(id="k1", by="you", reason="no"))
        await until(lambda: "validation" not in first_line(app))

    drive(script, act, size=(120, 40))


def test_what_was_asked_of_a_slow_model_is_in_the_first_line_before_it_is_heard() -> None:
    script = Script(healthy())

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("v")
        await until(lambda: "evaluation asked …" in first_line(app))
        [asked] = script.asked
        script.say(e.WorkAdvanced(what="validation", done=0, of=1, answers=asked.id))
        await until(lambda: "validation …" in first_line(app) and "asked" not in first_line(app))

    drive(script, act, size=(120, 40))


@pytest.mark.parametrize(("run", "size"), [("runs/harbour-1", (120, 40)), ("runs/copperfield-12", (80, 24)),
                                           ("/a/long/way/to/the/folder/of/runs/copperfield-12", (80, 24)),
                                           ("runs/copperfield-12", (60, 16))])
def test_a_warning_stands_in_the_first_line_until_it_is_dismissed(run: str, size: tuple[int, int]) -> None:
    script = Script([*healthy(), warned(598), steps(601, 1500)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert "! warning at 598: w" in first_line(app) and "running" in first_line(app)
        assert "w why" in screen(app).splitlines()[-1]
        await pilot.press("x")
        [asked] = script.asked
        assert isinstance(asked, c.Dismiss)
        assert "! warning at 598: w" in first_line(app), "nothing is gone before it is confirmed"
        script.say(e.Dismissed(branch=0, step=2100, id=asked.id, by="you"))
        await until(lambda: "warning" not in first_line(app))
        await pilot.press("x")
        assert app.view.refused == "no warning stands" and len(script.asked) == 1
        script.say(warned(2050), warned(2090))
        await until(lambda: app.state.health.standing is not None)
        app.redraw(at_once=True)
        assert "! 2 warnings, newest at 2,090: w" in first_line(app)

    drive(script, act, size=size, run=run)


def test_the_header_and_the_machine_pane_say_how_often_it_is_saved() -> None:
    script = Script(healthy())
    script.say(replace(START, config={**START.config, "checkpoint_every": "60s"}), *healthy()[1:])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await until(lambda: "saved every 60 s" in first_line(app))
        app.redraw_plots()
        machine = app.cockpit.query_one(MachinePane)
        assert any("every 60 s, last at step 500" in machine.render_line(y).text for y in range(machine.size.height))

    drive(script, act, size=(200, 60))


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_the_guards_countdown_does_not_mind_a_clock_that_is_set(jump: float) -> None:
    script = Script([*ill("explosion"), e.Paused(branch=0, step=1640, id="1", by="guard")])
    now, steady = [CLOCK], [0.0]
    app = CockpitApp(Path("runs/harbour-1"), lambda: script, clock=lambda: now[0], steady=lambda: steady[0])

    async def sitting() -> None:
        async with app.run_test(size=(120, 40)) as pilot:
            await settled(app, pilot)
            await until(lambda: f"rolls back in {int(COUNTDOWN)} s" in first_line(app))
            now[0], steady[0] = now[0] + jump, 3.0
            await until(lambda: f"rolls back in {int(COUNTDOWN) - 3} s" in first_line(app))

    asyncio.run(sitting())


def test_the_guards_countdown_counts_while_nothing_happens() -> None:
    script = Script([*ill("explosion"), e.Paused(branch=0, step=1640, id="1", by="guard")])
    now = [CLOCK]
    app = CockpitApp(Path("runs/harbour-1"), lambda: script, clock=lambda: now[0], steady=lambda: now[0])

    async def sitting() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await settled(app, pilot)
            app._heard_at -= 60  # long after the last event
            for left in range(int(COUNTDOWN), int(COUNTDOWN) - 5, -1):
                await until(lambda left=left: f"rolls back in {left} s" in first_line(app))  # type: ignore[misc]
                now[0] += 1
            await pilot.press("w")
            assert isinstance(app.screen, Why)
            await until(lambda: "rolls&#160;back&#160;in&#160;115&#160;s" in app.export_screenshot())

    asyncio.run(sitting())


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (80, 18), (50, 12), (200, 60)])
def test_every_pane_is_shown_alone_by_its_number_and_z(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        for digit, name in PANES.items():
            await pilot.press(digit, "z")
            await pilot.pause()
            pane = app.cockpit.query_one(f"#{name}")
            shown = {p.id for p in app.cockpit.panes() if p.display and p.region.height and p.region.width}
            assert shown - {"header", "progress", "footer"} == {name}
            assert pane.region.width >= size[0] - 2 and pane.region.height >= size[1] - 4
            if isinstance(pane, Picture):
                app.redraw_plots()
                await until(lambda pane=pane: any(  # type: ignore[misc]
                    row and not row.startswith(pane.heading) for y in range(pane.content_size.height)
                    for row in [pane.render_line(y).text.strip()]))
            await pilot.press("z")
            await pilot.pause()
            assert not app.cockpit.has_class("maximised")

    drive(Script([*healthy(), *measured(600)]), act, size=size)


@pytest.mark.parametrize("keys", ["c", "r", "g", "w", "question_mark"])
def test_a_picture_is_taken_over_a_dialog_and_of_a_verdict(keys: str, tmp_path: Path) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press(keys)
        dialog = app.screen
        assert dialog is not app.cockpit
        await pilot.press("ctrl+s")
        await until(lambda: len(list(tmp_path.glob("cockpit-*.svg"))) == 1)
        assert app.screen is dialog

    drive(Script(ill("explosion")), act, run=str(tmp_path))
    if keys == "w":
        assert "explodes" in next(tmp_path.glob("cockpit-*.svg")).read_text()


@pytest.mark.parametrize("theme", THEMES)
def test_the_panes_stay_in_view_behind_a_dialog_in_every_theme(theme: str) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        app.theme = theme
        await pilot.press("c")
        await pilot.pause()
        picture = app.export_screenshot()
        assert "keeps" in picture and "harbour" in picture and "timeline" in picture

    drive(Script(healthy()), act)


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as the guidelines for readable pages define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def faint(app: CockpitApp, *, light: bool) -> list[str]:
    """Colours of letters that hardly stand out from the ground of a picture; the ground's own if it is not `light`."""
    app.redraw(at_once=True)
    app.redraw_plots()
    picture = app.export_screenshot()
    [ground] = re.findall(r'<rect fill="(#\w{6})" stroke', picture)
    if (luminance(ground) > 0.5) != light:
        return [ground]
    letters = set(re.findall(r"-r\d+ { fill: (#\w{6})", picture))
    pairs = {letter: sorted((luminance(ground), luminance(letter))) for letter in letters}
    return [letter for letter, (low, high) in pairs.items() if (high + 0.05) / (low + 0.05) <= 2]


@pytest.mark.parametrize("theme", [name for name in THEMES if name.startswith("ansi")])
def test_letters_stand_out_in_a_picture_in_the_terminals_own_colours(theme: str) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        app.theme = theme
        await until(lambda: not faint(app, light=theme == "ansi-light"))

    drive(Script(healthy()), act)


def test_a_theme_says_its_name() -> None:
    said: list[str] = []

    async def act(app: CockpitApp, pilot: Any) -> None:
        app.notify = lambda message, **how: said.append(message)  # type: ignore[method-assign]
        for _ in THEMES:
            await pilot.press("t")

    drive(Script(healthy()), act)
    assert said == ["theme: light", "theme: the terminal's own colours, dark",
                    "theme: the terminal's own colours, light", "theme: dark"]


def test_x_dismisses_from_the_why_screen() -> None:
    script = Script([*healthy(), warned(598)])

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("w")
        assert isinstance(app.screen, Why)
        await pilot.press("x")
        await until(lambda: bool(script.asked))
        assert isinstance(script.asked[0], c.Dismiss)

    drive(script, act)
