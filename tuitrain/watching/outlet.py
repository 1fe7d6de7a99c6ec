"""Takes events from the loop; a thread journals, analyses and distributes them, so a hanging disk delays no step."""

import queue
import sys
import threading
from collections.abc import Callable

from tuitrain.engine.worker import Announcer
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event, StepsDone
from tuitrain.run.journal import Journal

MAX_WAITING = 10_000
"""Largest number of queued events; above it the numbers of steps are dropped, as when a disk hangs."""


class Outlet(Announcer):
    """An announcer with a queue in front of it. `failure` is the exception that ended it, if any."""

    def __init__(self, send: Callable[[Command], None], journal: Journal, guard_mode: str) -> None:
        super().__init__(send, journal, guard_mode)
        self.failure: Exception | None = None
        self._saved: Callable[[Callable[[], None]], None] = lambda call: None
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        # A daemon thread: a hanging disk must not keep the script from exiting.
        self._thread = threading.Thread(target=self._carry, name="watching", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue an event. Never waits."""
        if self._queue.qsize() < MAX_WAITING or not isinstance(event, StepsDone):
            self._queue.put(event)

    def finish(self, timeout: float) -> bool:
        """Announce the queued events and close the journal; return False if that took longer than `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def on_saving(self, saves: Callable[[Callable[[], None]], None]) -> None:
        """Set the function that registers a callback for after each checkpoint."""
        self._saved = saves

    def after_saving(self, call: Callable[[], None]) -> None:
        """Register a function to be called in the writer's thread after each checkpoint."""
        self._saved(call)

    def _carry(self) -> None:
        try:
            while (event := self._queue.get()) is not None:
                self.announce(event)
                self.diagnose(event)
        except Exception as error:
            self.failure = error
        try:
            self.close()
        except Exception as error:
            sys.stderr.write(f"tuitrain: the journal could not be closed: {error}\n")
