"""The interface between a front end and a run: a thread in this process, a socket or a recording."""

from typing import Literal, Protocol, runtime_checkable

from tuitrain.protocol.channel import Channel
from tuitrain.telemetry.run_state import RunState

Connection = Literal["live", "read-only", "replay"]
"""What a session can do: send and listen, only listen, or play a recording."""


class Session(Channel, Protocol):
    """A channel with the state that its events continue. Implementations inherit from it."""

    connection: Connection
    state: RunState
    """The state to start from, and to take again whenever `resynchronised` has changed; the caller folds the events."""
    resynchronised: int
    """Counts how often `state` was replaced because events were lost or a recording was wound."""
    elsewhere: str = ""
    """The name of the machine that trains, if it is another one."""
    closed: bool
    """Whether nothing more will come."""


@runtime_checkable
class Tape(Session, Protocol):
    """A session that plays a recorded run; it can be stopped, sped up and wound."""

    now: float
    """The current position, in Unix seconds."""

    @property
    def words(self) -> str:
        """Speed and position, for a person."""

    def toggle(self) -> None:
        """Stop or continue playing."""

    def faster(self, factor: float) -> None:
        """Multiply the speed by a factor."""

    def jump(self, share: float) -> None:
        """Jump by this share of the whole recording, backwards if negative."""

    def to_step(self, step: int) -> bool:
        """Go to a step and stop; False if there is no such step."""

    def to_event(self, by: int) -> bool:
        """Go to the next event (`by` 1) or the one before (-1) and stop; False if there is none."""
