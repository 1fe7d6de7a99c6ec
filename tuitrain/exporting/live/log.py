"""Writes a run into a library's log, in a thread of its own that training never waits for. Knows no library.

The events come from a feed, which is bounded: what a library is too slow for is dropped there, oldest first. A library
that raises is turned off with one line in the run's log; one that hangs is left behind when the run ends.
"""

import threading
from collections.abc import Callable

from tuitrain.exporting.live.rows import Rows
from tuitrain.exporting.live.target import About, Row, Target
from tuitrain.protocol.channel import Feed
from tuitrain.protocol.events import EngineSaid, RunEnded

PATIENCE = 20.0
"""Seconds that the end of a run waits for a library to write what it still has."""
WAIT = 0.5


class Log:
    """A log in its thread. `say` puts a sentence into the run's log, from any thread."""

    def __init__(self, name: str, feed: Feed, about: About, opener: Callable[[About], Target],
                 say: Callable[[EngineSaid], None]) -> None:
        self.name = name
        self._feed, self._about, self._opener, self._say = feed, about, opener, say
        self._leaving = threading.Event()
        # A daemon: a library that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, name=f"log {name}", daemon=True)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def close(self, patience: float = PATIENCE) -> bool:
        """Wait until everything is written; False if the library took longer than `patience` and is left behind."""
        self._leaving.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            target = self._opener(self._about)
            if target.remark:
                self._say(EngineSaid(text=f"--log {self.name}: {target.remark}"))
            try:
                self._write(target)
            finally:
                target.close()
        # Of a library of others anything may come, SystemExit among it.
        except BaseException as error:
            words = " ".join(str(error).split())[:200]
            self._say(EngineSaid(level="warning", text=f"--log {self.name} failed and is off, training goes on: "
                                                       f"{type(error).__name__}: {words}"))
        finally:
            self._feed.close()

    def _write(self, target: Target) -> None:
        rows = Rows()
        while True:
            last = self._leaving.is_set()  # before draining: after it nothing is added any more
            for event, when in self._feed.drain_timed(WAIT):
                for made in rows.take(event, when):
                    if isinstance(made, Row):
                        target.numbers(made)
                    else:
                        target.sample(made)
                last |= isinstance(event, RunEnded)
            if last:
                return
