"""Ask the engine, or say why that cannot be. Confirmed values come back as events. Knows no keys' dialogs."""

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
    """Sends commands and remembers what waits for an answer. `show` draws the answers to a key at once."""

    ending = False
    """The person here had it save and end: the cockpit leaves when that is done."""

    def __init__(self, link: Link, show: Callable[[], None]) -> None:
        self._link, self.show = link, show

    def ask(self, command: type[c.Command], what: str, wanted: Any = True, /, **words: Any) -> None:
        """Send a command and remember that it was asked, until an event carries its id."""
        view, session = self._link.view, self._link.session
        if session is None or view.connection != "live":
            view.refused = {"starting": "the engine is still starting", "gone": "the engine is gone",
                            "replay": "a replay: space stops, - + is its speed, , . winds it"}.get(
                view.connection, "this is a read-only look at the run")
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
        """Whether an event answers what was asked here or in another terminal, so that it is shown at once; a step's
        numbers are not."""
        asked = self._link.view.asked.pop(id_of(event), None)
        if isinstance(event, CommandRefused) and asked is not None:
            self._link.view.refused = safe(event.reason)
            self.ending &= asked[0] != "end"
        return asked is not None or bool(by_of(event))

    def refuse(self, why: str) -> None:
        """Show why a key does nothing now."""
        self._link.view.refused = why
        self.show()

    def offered(self, action: str) -> bool:
        """Whether the run does what a key asks; if not, the reason is shown."""
        key = next(key for key in TABLE if key.action == action)
        self._link.view.refused = why = key.why_not(self._link.state.capabilities)
        if why:
            self.show()
        return not why

    def knob(self, name: str) -> Any:
        """The value last asked of a knob, or the confirmed one."""
        asked = self._link.view.asking(name)
        return self._link.state.knobs.get(name) if asked is None else asked

    def now(self, name: str) -> float:
        """The confirmed value of a knob that is a number."""
        return float(self._link.state.knobs.get(name) or 0)
