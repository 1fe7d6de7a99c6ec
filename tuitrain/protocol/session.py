"""What a front end talks to: a thread here, a socket there, a recording."""

from typing import Protocol, runtime_checkable

from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event


class Session(Protocol):
    """Anything one can ask and listen to."""

    def send(self, command: Command) -> None:
        """Ask; the answer is an event with the command's id. Never waits for the engine."""

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """The events since the last call, waiting up to `timeout` seconds for the first one."""

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """The same with each event's Unix time."""

    def close(self) -> None:
        """Stop listening. Does not stop the run."""


@runtime_checkable
class Tape(Session, Protocol):
    """A session that plays what happened: it can be stopped, hurried and wound."""

    now: float
    """Unix seconds of what is shown."""
    words: str
    """Where it is and how fast it goes."""

    def toggle(self) -> None:
        """Play, or stop."""

    def faster(self, factor: float) -> None:
        """Play so many times as fast."""

    def jump(self, share: float) -> None:
        """By this share of the whole, backwards if negative."""
