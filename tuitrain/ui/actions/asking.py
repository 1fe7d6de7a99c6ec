"""Sends commands to the engine, or shows why that is not possible. Answers arrive as events. Knows no dialogs."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from tuitrain.errors import RunError
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import CommandRefused, EngineSaid, Event, by_of, id_of
from tuitrain.telemetry.units import safe
from tuitrain.ui.keys import TABLE
from tuitrain.ui.link import Link

READ = 8.0
"""Seconds that a refusal is shown, if no key is pressed before."""


class Asking:
    """Sends commands and remembers those that wait for an answer. `show` draws the answer to a key at once."""

    ending = False
    """Whether the person here requested to save and end; the cockpit closes when that is done."""

    def __init__(self, link: Link, show: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self.show, self._clock = link, show, clock
        self._until: float | None = None
        """When the present refusal or answer disappears, if there is one."""

    def ask(self, command: type[c.Command], what: str, wanted: Any = True, /, **words: Any) -> None:
        """Send a command and show it as pending until an event with its id arrives."""
        view, session = self._link.view, self._link.session
        self.forget()
        if session is None or view.connection != "live":
            self._tell(self._unheard())
        elif why := self._link.state.capabilities.why_not(command, str(words.get("name", ""))):
            self._tell(why)
        else:
            id = uuid.uuid4().hex[:12]
            view.asked[id] = (what, wanted)
            try:
                session.send(command(id=id, by=askers.PERSON, **words))
            except RunError as error:
                view.asked.pop(id)
                self._tell(str(error))
        self.show()

    def answered(self, event: Event) -> bool:
        """Return whether an event answers a command of this or another terminal, and so has to be shown at once."""
        asked = self._link.view.asked.pop(id_of(event), None)
        if isinstance(event, CommandRefused) and asked is not None:
            self._tell(safe(event.reason))
            self.ending &= asked[0] != "end"
        elif isinstance(event, EngineSaid) and asked is not None:
            self._tell("", safe(event.text))
        return asked is not None or bool(by_of(event))

    def _unheard(self) -> str:
        """Why nothing can be asked of the run now."""
        view = self._link.view
        where = f"on {safe(view.host)}, which trains it" if view.host else "where its socket can be reached"
        return {"starting": "the engine is still starting", "gone": "the engine is gone",
                "replay": "a replay: space stops, - + is its speed, , . winds it, [ ] goes to events, g to a step"}.get(
            view.connection, f"this is a read-only look at the run: steer it {where}")

    def refuse(self, why: str) -> None:
        """Show why a key does nothing now."""
        self._tell(why)
        self.show()

    def forget(self) -> bool:
        """Remove what the last key was answered; returns whether there was something."""
        there, self._until = self._until is not None, None
        if there:
            self._link.view.refused = self._link.view.said = ""
        return there

    def outdated(self) -> bool:
        """Remove an answer that has been shown for a while; returns whether that is to be drawn."""
        return self._until is not None and self._clock() >= self._until and self.forget()

    def _tell(self, refused: str, said: str = "") -> None:
        self._link.view.refused, self._link.view.said = refused, said
        self._until = self._clock() + READ

    def offered(self, action: str) -> bool:
        """Return whether the run offers what a key asks; if not, show the reason."""
        key = next(key for key in TABLE if key.action == action)
        live = self._link.view.connection == "live"
        self.forget()
        why = key.why_not(self._link.state.capabilities) if live else self._unheard()
        if why:
            self.refuse(why)
        return not why

    def knob(self, name: str) -> Any:
        """Return the value of a knob that was last asked for, or else the confirmed one."""
        asked = self._link.view.asking(name)
        return self._link.state.knobs.get(name) if asked is None else asked

    def now(self, name: str) -> float:
        """Return the confirmed value of a numeric knob."""
        return float(self._link.state.knobs.get(name) or 0)
