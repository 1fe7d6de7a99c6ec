"""Events leave the loop here: a thread journals, analyses and spreads them, so a disk that hangs holds up nobody."""

import queue
import sys
import threading
from collections.abc import Callable

from tuitrain.engine.worker import Announcer
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import Event, StepsDone
from tuitrain.run.journal import Journal

MOST = 10_000
"""Events that wait for a disk that takes none; beyond, numbers of steps are left out."""


class Outlet(Announcer):
    """An announcer with a queue before it. `failure` is what ended it, if anything did."""

    def __init__(self, send: Callable[[Command], None], journal: Journal, guard_mode: str) -> None:
        super().__init__(send, journal, guard_mode)
        self.failure: Exception | None = None
        self._saved: Callable[[Callable[[], None]], None] = lambda call: None
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        # A daemon: a disk that hangs must not keep the script from ending.
        self._thread = threading.Thread(target=self._carry, name="watching", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Announce it soon. Never waits."""
        if self._queue.qsize() < MOST or not isinstance(event, StepsDone):
            self._queue.put(event)

    def finish(self, timeout: float) -> bool:
        """Announce what waits and close the journal; False if that took longer."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def on_saving(self, saves: Callable[[Callable[[], None]], None]) -> None:
        """Who is asked to call back after each checkpoint."""
        self._saved = saves

    def after_saving(self, call: Callable[[], None]) -> None:
        """Have this called in the writer's thread after each checkpoint."""
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
