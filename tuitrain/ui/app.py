"""The cockpit's application: drains the session, folds, and hands the state to panes. Knows no engine.

Nothing on the screen waits for training and training never waits for the screen.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding
from textual.filter import LineFilter
from textual.worker import get_current_worker

from tuitrain.diagnosis.guard import COUNTDOWN
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.actions.conducting import Conducting
from tuitrain.ui.actions.going_back import GoingBack
from tuitrain.ui.actions.table import actions
from tuitrain.ui.actions.turning import Turning
from tuitrain.ui.actions.viewing import Viewing
from tuitrain.ui.cockpit import Cockpit
from tuitrain.ui.driver import Driver
from tuitrain.ui.gone import EngineGone, LogTail
from tuitrain.ui.keys import PANES, TABLE
from tuitrain.ui.link import Link
from tuitrain.ui.panes.header import HeaderPane, countdown
from tuitrain.ui.unobeyed import Unobeyed
from tuitrain.ui.view import View

TICK = 0.05
"""Seconds between looks at the session: short, so that an answer is on the screen at once; a look costs little."""
NUMBERS = 0.5
"""Seconds between drawings when nothing was asked."""
HINT = 25.0
"""Seconds that a hint stays."""
SETTLED = 6.0
"""Seconds after the last event at which every pane has had its turn, and nothing is drawn until the next one."""

UNOBEYED = Unobeyed()


class CockpitApp(App[int]):
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
        super().__init__(driver_class=Driver)
        self.link = Link(history or RunState(), View(run=str(run), braille=braille, now=clock()))
        self.cockpit = Cockpit()
        show = partial(self.redraw, at_once=True)
        self._asking = asking = Asking(self.link, show)
        parts = actions(
            Conducting(self, self.link, asking), Turning(self, self.link, asking), GoingBack(self, self.link, asking),
            Viewing(self, self.link, self.cockpit, run=run, clock=clock, show=show, show_plots=self.redraw_plots))
        for name, action in parts.items():
            setattr(self, f"action_{name}", action)
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
        self._next, self._heard = 0.0, time.monotonic()

    @property
    def session(self) -> Session | None:
        """The session, once the engine is there."""
        return self.link.session

    @property
    def state(self) -> RunState:
        """What is known of the run."""
        return self.link.state

    @property
    def view(self) -> View:
        """How it is looked at."""
        return self.link.view

    @property
    def ending(self) -> bool:
        """Whether the person here had it save and end."""
        return self._asking.ending

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Called by Textual: what each row passes through on its way to the terminal."""
        return [*super().get_line_filters(), UNOBEYED]

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
        self.link.join(session)
        self._wait()
        self.redraw(at_once=True)
        if self._hint:
            self.notify(self._hint, timeout=HINT, markup=False)

    def redraw(self, at_once: bool = False) -> None:
        """Hand the state to the panes."""
        self.view.tape = self.link.tape.words if self.link.tape is not None else ""
        if self.cockpit.is_mounted:
            self.cockpit.show(self.state, self.view, time.monotonic(), at_once)

    def redraw_plots(self) -> None:
        """Plots at once, because a person asked for it."""
        self.cockpit.show(self.state, self.view, math.inf)

    def action_suspend_process(self) -> None:
        """The cockpit only: where the training shares its process, that would stop it too."""
        if self.here:
            self.notify("this process trains too: ctrl+z would stop it; d leaves and training goes on", markup=False)
        else:
            super().action_suspend_process()

    def tick(self) -> None:
        """Fold what happened; draw answers at once and the rest at its own pace."""
        if self.leaving:
            self.exit(0)
            return
        self.view.now = self.link.tape.now if self.link.tape is not None else self._clock()
        answered = False
        if self.session is None and (news := self._starting.news()):
            self.view.remark, answered = news, True
        anew, events = self.link.drain()
        answered |= anew
        for event, when in events:
            self.state.fold(event, when)
            self._heard = time.monotonic()
            answered |= self._asking.answered(event)
        if self.session is not None and self.view.connection not in ("starting", "gone"):
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
        if self.link.tape is not None:
            self.view.guard_waits = COUNTDOWN - (self.link.tape.now - since)
            return
        if since != self._waits[0]:
            left = min(COUNTDOWN, max(0.0, COUNTDOWN - (self._clock() - since)))
            self._waits = since, self._steady() + left
        self.view.guard_waits = self._waits[1] - self._steady()

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
            self.link.leave()
            self._connect = self._resume
            self.view.connection, self.view.remark = "starting", "going on from the last checkpoint"
            self.redraw(at_once=True)
            self.begin()
