"""The interface between a front end and a run: a thread in this process, a socket or a recording."""

from typing import Protocol, runtime_checkable

from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event


class Session(Protocol):
    """Takes commands and returns events."""

    def send(self, command: Command) -> None:
        """Send a command; the answer is an event with its id. Never waits for the engine."""

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """Return the events since the last call, waiting up to `timeout` seconds for the first one."""

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Like `drain`, with each event's Unix time."""

    def close(self) -> None:
        """Stop listening. Does not stop the run."""


@runtime_checkable
class Tape(Session, Protocol):
    """A session that plays a recorded run; it can be stopped, sped up and wound."""

    now: float
    """The current position, in Unix seconds."""
    words: str
    """Speed and position, for a person."""

    def toggle(self) -> None:
        """Stop or continue playing."""

    def faster(self, factor: float) -> None:
        """Multiply the speed by a factor."""

    def jump(self, share: float) -> None:
        """Jump by this share of the whole recording, backwards if negative."""
