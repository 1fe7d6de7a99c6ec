"""The run on the screen: its session, the state folded from its events, and the display settings. No Textual."""

from dataclasses import dataclass

from tuitrain.protocol.events import Event
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session, Tape
from tuitrain.ui.view import View


@dataclass(slots=True)
class Link:
    """Holds the current session and state; both are replaced while the cockpit runs, so read them here each time."""

    state: RunState
    view: View
    session: Session | None = None
    _synchronised: int = 0

    @property
    def tape(self) -> Tape | None:
        """The session if it is a replay, in which some keys control the playback; else None."""
        return self.session if self.view.connection == "replay" and isinstance(self.session, Tape) else None

    def join(self, session: Session) -> None:
        """Take a session and its state."""
        self.session, self.state, self._synchronised = session, session.state, session.resynchronised
        self.view.connection, self.view.remark, self.view.host = session.connection, "", session.elsewhere

    def leave(self) -> None:
        """Close the session if there is one."""
        if self.session is not None:
            self.session.close()
        self.session = None

    def drain(self) -> tuple[bool, list[tuple[Event, float]]]:
        """Return whether the state was replaced, and the events since then with their Unix times, not yet folded."""
        if self.session is None or self.view.connection in ("starting", "gone"):
            return False, []
        events = self.session.drain_timed()
        anew = self.session.resynchronised != self._synchronised
        if anew:
            self._synchronised, self.state = self.session.resynchronised, self.session.state
        return anew, events
