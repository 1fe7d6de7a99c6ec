"""Commands one way, events the other: what every connection to a run has in common. Knows no state of the run."""

from collections.abc import Callable
from typing import Protocol

from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event


class Channel(Protocol):
    """Takes commands and returns events. Implementations inherit from it."""

    def send(self, command: Command) -> None:
        """Send a command; the answer is an event with its id. Never waits for the engine."""

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events since the last call with their Unix times, waiting up to `timeout` seconds for one."""

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """Return the same events without their times."""
        return [event for event, _ in self.drain_timed(timeout)]

    def close(self) -> None:
        """Stop listening. Does not stop the run."""


class Feed(Channel, Protocol):
    """A channel that reports when there is something to drain."""

    on_ready: Callable[[], None] | None
    """Called after each event, in the thread that announces it; must not wait."""
