"""Runs a Trainer in a background thread; every event goes to the journal, the guard and any number of feeds.

A feed that is full or abandoned never slows the training: it loses its oldest events.
"""

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable

from tuitrain.diagnosis.analyst import Analyst
from tuitrain.diagnosis.guard import Guard
from tuitrain.engine.trainer import Trainer
from tuitrain.errors import ERROR, what_failed
from tuitrain.protocol.channel import Feed
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import CRASHED, EngineSaid, Event, RunEnded, RunResumed
from tuitrain.run.journal import Journal

QUEUE_LENGTH = 20_000


class Queue(Feed):
    """One consumer's queue of events. `lost` counts the events dropped because it was too slow."""

    def __init__(self, send: Callable[[Command], None], forget: Callable[["Queue"], None]) -> None:
        self._send, self._forget = send, forget
        self._events: deque[tuple[Event, float]] = deque(maxlen=QUEUE_LENGTH)
        self._ready = threading.Condition()
        self.lost = 0
        self.on_ready: Callable[[], None] | None = None

    def send(self, command: Command) -> None:
        """Send a command to the engine."""
        self._send(command)

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events since the last call, waiting up to `timeout` seconds for the first one.

        Each comes with its Unix time, which is the one in the journal.
        """
        with self._ready:
            if timeout and not self._events:
                self._ready.wait(timeout)
            events = list(self._events)
            self._events.clear()
        return events

    def close(self) -> None:
        """Stop listening."""
        self._forget(self)

    def put(self, event: Event, when: float) -> None:
        """Add an event; called by the worker, never waits."""
        with self._ready:
            if len(self._events) == QUEUE_LENGTH:
                self.lost += 1
            self._events.append((event, when))
            self._ready.notify()
        if self.on_ready is not None:
            self.on_ready()


class Announcer:
    """Passes every event of a run to the journal, the analyst, the guard and the feeds.

    `send` passes a command, from any thread, to whatever carries it out.
    """

    def __init__(self, send: Callable[[Command], None], journal: Journal, guard_mode: str) -> None:
        self.send = send
        """Send a command to the engine; the answer is an event."""
        self._journal = journal
        self._analyst: Analyst | None = Analyst()
        self._past: tuple[Event, ...] = ()
        self._guard = Guard(guard_mode)
        self._countdown: threading.Timer | None = None
        self._feeds: list[Queue] = []
        self._lock = threading.RLock()

    def feed(self) -> Queue:
        """Add a queue, which receives the events from now on."""
        feed = Queue(self.send, self._forget)
        with self._lock:
            self._feeds.append(feed)
        return feed

    def announce(self, event: Event) -> None:
        """Write an event to the journal and pass it to feeds and guard; it may come from outside the engine, such as
        a client that joined."""
        with self._lock:
            now = time.time()
            self._journal.write(event, now)
            for feed in self._feeds:
                feed.put(event, now)
            for command in (*self._guard.react(event), *self._guard.tick()):
                self.send(command)
            self._count_down()
            for text in self._journal.news():
                self.announce(EngineSaid(level="warning", text=text))

    def without_analyst(self) -> None:
        """Turn the analysis off, for drills in which a person looks for the fault."""
        self._analyst = None

    def remember(self, past: Iterable[Event]) -> None:
        """Give the analyst steps and measurements from before the run was resumed; nothing is announced of them."""
        self._past = tuple(past)

    def watched(self, watched: bool) -> None:
        """Set whether a cockpit in this process is watching: the guard waits for a person only then."""
        with self._lock:
            self._guard.watched = watched
            for command in self._guard.tick():
                self.send(command)

    def diagnose(self, event: Event) -> None:
        """Announce the analyst's findings about an event; an error turns the analysis off and never ends the run."""
        if self._analyst is None:
            return
        try:
            for finding in self._analyst.consider(event):
                self.announce(finding)
            if isinstance(event, RunResumed):  # which has just emptied its memory
                past, self._past = self._past, ()
                for old in past:
                    for _ in self._analyst.consider(old):
                        pass
        except Exception as error:
            self._analyst = None
            self.announce(EngineSaid(level="warning", text=f"the analysis failed and is off: {type(error).__name__}: "
                                                           f"{error}"))
            traceback.print_exc()

    def _count_down(self) -> None:
        """Run a timer while the guard waits for a person, as no events occur that would wake it."""
        left = self._guard.seconds_left
        if left is not None and self._countdown is None:
            self._countdown = threading.Timer(left + 0.1, self._time_is_up)
            self._countdown.daemon = True
            self._countdown.start()
        elif left is None and self._countdown is not None:
            self._countdown.cancel()
            self._countdown = None

    def _time_is_up(self) -> None:
        with self._lock:
            self._countdown = None
            for command in self._guard.tick():
                self.send(command)
            self._count_down()

    def _forget(self, feed: Queue) -> None:
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def close(self) -> None:
        """Make the journal durable and close it; nothing can be announced afterwards."""
        with self._lock:
            if self._countdown is not None:
                self._countdown.cancel()
            failed = self._journal.close()
        if failed:
            sys.stderr.write(f"tuitrain: the end of the journal may not be on disk: {failed}\n")


class Worker(Announcer):
    """Runs a trainer in its own thread and announces its events."""

    def __init__(self, trainer: Trainer, journal: Journal) -> None:
        super().__init__(trainer.orders.inbox.put, journal, trainer.orders.guard_mode)
        self.trainer = trainer
        # Not a daemon: a thread inside torch during interpreter shutdown crashes the process.
        self._thread = threading.Thread(target=self._work, name="training", daemon=False)

    def start(self) -> None:
        """Start training."""
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of the run; True once the thread is gone."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def after_saving(self, call: Callable[[], None]) -> None:
        """Register a function to call after each checkpoint, in the saver's thread."""
        self.trainer.saves.on_committed = call

    def _work(self) -> None:
        try:
            for event in self.trainer.run():
                self.announce(event)
                self.diagnose(event)
        except Exception as error:
            progress = self.trainer.machine.progress
            self.announce(RunEnded(
                reason=CRASHED, exit_code=ERROR, branch=progress.branch, step=progress.step,
                message=what_failed(error), traceback=traceback.format_exc()))
            self.trainer.saves.abandon()
        finally:
            self.close()
