"""The cockpit's application: drains the session, folds, and hands the state to panes. Knows no engine.

Nothing on the screen waits for training and training never waits for the screen.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding
from textual.worker import get_current_worker

from tuitrain.diagnosis.guard import COUNTDOWN
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session
from tuitrain.telemetry.units import safe
from tuitrain.ui.actions import Actions
from tuitrain.ui.cockpit import Cockpit
from tuitrain.ui.gone import EngineGone, LogTail
from tuitrain.ui.keys import PANES, TABLE
from tuitrain.ui.panes.header import HeaderPane, countdown
from tuitrain.ui.view import View

TICK = 0.05
"""Seconds between looks at the session: short, so that an answer is on the screen at once; a look costs little."""
NUMBERS = 0.5
"""Seconds between drawings when nothing was asked."""
HINT = 25.0
"""Seconds that a hint stays."""
SETTLED = 6.0
"""Seconds after the last event at which every pane has had its turn, and nothing is drawn until the next one."""


class CockpitApp(Actions):
    """`connect` is called in a thread and gives the session, so that the first frame need not wait for torch."""

    CSS_PATH = "cockpit.tcss"
    TITLE = "tuitrain"
    BINDINGS: ClassVar = [
        *(Binding(key.keys, key.action, key.help, show=False, priority=key.everywhere) for key in TABLE),
        *(Binding(digit, f"focus_pane('{name}')", f"focus {name}", show=False) for digit, name in PANES.items())]

    def __init__(self, run: Path, connect: Callable[[], Session], *, braille: bool = True,
                 clock: Callable[[], float] = time.time, history: RunState | None = None,
                 steady: Callable[[], float] = time.monotonic,
                 here: bool = False, hint: str = "", resume: Callable[[], Session] | None = None) -> None:
        super().__init__()
        self.session: Session | None = None
        self.state = history or RunState()
        self.view = View(run=str(run), braille=braille, now=clock())
        self.cockpit = Cockpit()
        self.failure: Exception | None = None
        self.leaving = False
        """Set by a signal, from outside the loop: the next tick leaves."""
        self.here, self._hint = here, hint
        self.behind: Callable[[], bool] = lambda: False
        """Whether the terminal still takes an earlier frame: a slow line gets fewer frames, never older ones."""
        self.resized: Callable[[], None] = lambda: None
        """Called before the screen is drawn for another size."""
        self._owing = False
        self._counted: int | None = None
        self._run, self._connect, self._resume, self._clock = run, connect, resume, clock
        self._steady, self._waits = steady, (0.0, 0.0)
        self._starting = LogTail(RunDirectory(run).log)
        self._synchronised, self._next, self._heard = 0, 0.0, time.monotonic()

    def on_mount(self) -> None:
        """Called by Textual."""
        self.push_screen(self.cockpit)
        self.set_interval(TICK, self.tick)
        self.begin()

    def on_resize(self) -> None:
        """Called by Textual."""
        self.resized()

    @work(thread=True, exit_on_error=False)
    def begin(self) -> None:
        """Connect without holding up the screen."""
        worker = get_current_worker()
        try:
            session = self._connect()
        except Exception as error:  # told once the screen has closed, whatever it is
            self.failure = error
            if not worker.is_cancelled:
                self.call_from_thread(self.exit, 1)
            return
        self.call_from_thread(self.joined, session)

    def joined(self, session: Session) -> None:
        """The engine is there: what it has done so far is shown at once."""
        self.session = session
        self.state = session.state
        self._synchronised = session.resynchronised
        self.view.connection, self.view.remark = session.connection, ""
        self._wait()
        self.redraw(at_once=True)
        if self._hint:
            self.notify(self._hint, timeout=HINT, markup=False)

    def tick(self) -> None:
        """Fold what happened; draw answers at once and the rest at its own pace."""
        if self.leaving:
            self.exit(0)
            return
        self.view.now = self.tape.now if self.tape is not None else self._clock()
        answered = False
        if self.session is None and (news := self._starting.news()):
            self.view.remark, answered = news, True
        if self.session is not None and self.view.connection not in ("starting", "gone"):
            events = self.session.drain_timed()
            if self.session.resynchronised != self._synchronised:  # the events continue a new state
                self._synchronised = self.session.resynchronised
                self.state = self.session.state
                answered = True
            for event, when in events:
                self.state.fold(event, when)
                self._heard = time.monotonic()
                answered |= self._answered(event)
            if self.ending and self.state.status == "ended" and self.state.ended != e.CRASHED:
                self.exit(0)
                return
            if self.session.closed:
                self._gone()
                answered = True
        # Where nothing happened nothing is computed; the slowest pane has had its turn by then.
        settled = time.monotonic() - self._heard > SETTLED
        answered |= self._owing
        self._wait()
        left = countdown(self.state, self.view)
        if left != self._counted and not self.behind():  # nothing happens meanwhile, and yet this line is news
            self._counted = left
            self.cockpit.query_one(HeaderPane).show(self.state, self.view, time.monotonic(), at_once=True)
        if answered or (not settled and time.monotonic() >= self._next):
            behind = self.behind()  # asked once: an answer that is not drawn now must be owed
            self._owing = behind and answered
            if behind:
                return
            self._next = time.monotonic() + NUMBERS
            self.redraw(at_once=answered)

    def _wait(self) -> None:
        """Count the guard's time down by a clock that nobody can set, from what was left when it was first seen."""
        since = self.state.health.waiting_since
        if self.tape is not None:
            self.view.guard_waits = COUNTDOWN - (self.tape.now - since)
            return
        if since != self._waits[0]:
            left = min(COUNTDOWN, max(0.0, COUNTDOWN - (self._clock() - since)))
            self._waits = since, self._steady() + left
        self.view.guard_waits = self._waits[1] - self._steady()

    def _answered(self, event: e.Event) -> bool:
        asked = self.view.asked.pop(e.id_of(event), None)
        if isinstance(event, e.CommandRefused) and asked is not None:
            self.view.refused = safe(event.reason)
            self.ending &= asked[0] != "end"
        # What another terminal did is shown at once, too; a step's numbers are not.
        return asked is not None or bool(e.by_of(event))

    def _gone(self) -> None:
        self.view.connection = "gone"
        self.view.asked.clear()
        script = self.state.capabilities.resumes
        goes_on = "it goes on when the script is run again" if script else f"`tuitrain resume {self._run}` goes on"
        if self.state.status == "ended":
            self.view.remark = f"q leaves; {goes_on}"
        else:
            self.view.remark = f"its process is gone: see engine.log; {goes_on}"
        if self._resume is not None and not script and (self.state.status != "ended" or self.state.ended == e.CRASHED):
            self.push_screen(EngineGone(self._run, self.state, time.monotonic() - self._heard), self._go_on)

    def _go_on(self, answer: str | None) -> None:
        if answer == "leave":
            self.exit(0)
        elif answer == "resume" and self._resume is not None:
            if self.session is not None:
                self.session.close()
            self.session, self._connect = None, self._resume
            self.view.connection, self.view.remark = "starting", "going on from the last checkpoint"
            self.redraw(at_once=True)
            self.begin()
