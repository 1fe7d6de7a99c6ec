"""Sends commands to the engine, or shows why that is not possible. Answers arrive as events. Knows no dialogs."""

import uuid
from collections.abc import Callable
from typing import Any

from tuitrain.errors import RunError
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import CommandRefused, Event, by_of, id_of
from tuitrain.telemetry.units import safe
from tuitrain.ui.keys import TABLE
from tuitrain.ui.link import Link


class Asking:
    """Sends commands and remembers those that wait for an answer. `show` draws the answer to a key at once."""

    ending = False
    """Whether the person here requested to save and end; the cockpit closes when that is done."""

    def __init__(self, link: Link, show: Callable[[], None]) -> None:
        self._link, self.show = link, show

    def ask(self, command: type[c.Command], what: str, wanted: Any = True, /, **words: Any) -> None:
        """Send a command and show it as pending until an event with its id arrives."""
        view, session = self._link.view, self._link.session
        if session is None or view.connection != "live":
            view.refused = self._unheard()
        elif why := self._link.state.capabilities.why_not(command, str(words.get("name", ""))):
            view.refused = why
        else:
            id = uuid.uuid4().hex[:12]
            view.asked[id], view.refused = (what, wanted), ""
            try:
                session.send(command(id=id, by=askers.PERSON, **words))
            except RunError as error:
                view.asked.pop(id)
                view.refused = str(error)
        self.show()

    def answered(self, event: Event) -> bool:
        """Return whether an event answers a command of this or another terminal, and so has to be shown at once."""
        asked = self._link.view.asked.pop(id_of(event), None)
        if isinstance(event, CommandRefused) and asked is not None:
            self._link.view.refused = safe(event.reason)
            self.ending &= asked[0] != "end"
        return asked is not None or bool(by_of(event))

    def _unheard(self) -> str:
        """Why nothing can be asked of the run now."""
        return {"starting": "the engine is still starting", "gone": "the engine is gone",
                "replay": "a replay: space stops, - + is its speed, , . winds it, [ ] goes to events, g to a step"}.get(
            self._link.view.connection, "this is a read-only look at the run")

    def refuse(self, why: str) -> None:
        """Show why a key does nothing now."""
        self._link.view.refused = why
        self.show()

    def offered(self, action: str) -> bool:
        """Return whether the run offers what a key asks; if not, show the reason."""
        key = next(key for key in TABLE if key.action == action)
        live = self._link.view.connection == "live"
        self._link.view.refused = why = key.why_not(self._link.state.capabilities) if live else self._unheard()
        if why:
            self.show()
        return not why

    def knob(self, name: str) -> Any:
        """Return the value of a knob that was last asked for, or else the confirmed one."""
        asked = self._link.view.asking(name)
        return self._link.state.knobs.get(name) if asked is None else asked

    def now(self, name: str) -> float:
        """Return the confirmed value of a numeric knob."""
        return float(self._link.state.knobs.get(name) or 0)
