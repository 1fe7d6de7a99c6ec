"""A session without thread and engine: what it says is told to it, what is asked of it is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.builders import CLOCK
from tuitrain.errors import RunError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Connection, Session
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.picture import Picture


class Script(Session):
    """A Session that a test writes."""

    def __init__(self, events: list[e.Event] | None = None) -> None:
        self._events = list(events or ())
        self.asked: list[c.Command] = []
        self.closed = False
        self.broken = False
        self.connection: Connection = "live"
        self.state = RunState()
        self.resynchronised = 0

    def say(self, *events: e.Event) -> None:
        self._events += events

    def send(self, command: c.Command) -> None:
        if self.broken:
            raise RunError("the run has ended or its process is gone")
        self.asked.append(command)

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        events, self._events = self._events, []
        return [(event, CLOCK) for event in events]

    def close(self) -> None:
        self.closed = True


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for a time."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(app: CockpitApp, pilot: Any) -> None:
    """Wait until what the script says is on the screen."""
    await until(lambda: app.view.connection != "starting" and app.state.status != "starting")
    await until(lambda: app.view.connection == "gone" or app.session is None or not app.session.closed)
    app.redraw_plots()
    await until(lambda: "step" in screen(app))
    app.redraw_plots()
    await pilot.pause()


def screen(app: CockpitApp) -> str:
    """All that the panes show, as plain text."""
    rows = []
    for pane in app.cockpit.query(Picture):
        if pane.display:
            rows += [pane.render_line(y).text for y in range(pane.content_size.height)]
    return "\n".join(rows)


def drive(script: Script, act: Callable[[CockpitApp, Any], Awaitable[None]], *, size: tuple[int, int] = (120, 40),
          live: bool = True, run: str = "runs/harbour-1", braille: bool = True) -> CockpitApp:
    """Open the cockpit on a script, act, close it."""
    app = CockpitApp(Path(run), lambda: script, braille=braille, clock=lambda: CLOCK)

    async def sitting() -> None:
        async with app.run_test(size=size) as pilot:
            if live:
                await until(lambda: app.view.connection == "live" and app.state.status != "starting")
                app.redraw_plots()
                await until(lambda: size[1] < 10 or "step" in screen(app))
                app.redraw_plots()
                await pilot.pause()
            await act(app, pilot)

    asyncio.run(sitting())
    return app
