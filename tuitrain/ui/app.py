"""The cockpit's application: drains the session, folds events and passes the state to panes. Knows no engine.

The screen never waits for training, and training never waits for the screen.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.filter import LineFilter
from textual.screen import Screen
from textual.worker import get_current_worker

from tuitrain.diagnosis.guard import COUNTDOWN
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session
from tuitrain.ui.actions.asking import Asking
from tuitrain.ui.actions.conducting import Conducting
from tuitrain.ui.actions.going_back import GoingBack
from tuitrain.ui.actions.racing import Racing
from tuitrain.ui.actions.table import actions
from tuitrain.ui.actions.turning import Turning
from tuitrain.ui.actions.viewing import Viewing
from tuitrain.ui.cockpit import Cockpit
from tuitrain.ui.driver import Driver
from tuitrain.ui.find import Find
from tuitrain.ui.gone import EngineGone, LogTail
from tuitrain.ui.keys import PANES, TABLE
from tuitrain.ui.link import Link
from tuitrain.ui.panes.header import HeaderPane, countdown
from tuitrain.ui.screenshot import on_its_background
from tuitrain.ui.unobeyed import Unobeyed
from tuitrain.ui.view import View

TICK = 0.05
"""Seconds between two reads of the session: short, so that answers appear at once; a read costs little."""
NUMBERS = 0.5
"""Seconds between two drawings while no command is waiting."""
HINT = 25.0
"""Seconds that the hint is shown."""
SETTLED = 6.0
"""Seconds after the last event until every pane has been drawn; then nothing is drawn until the next event."""

UNOBEYED = Unobeyed()


class CockpitApp(App[int]):
    """The app; `connect` is called in a thread for the session, so that the first frame does not wait for torch.

    If connecting takes no time (`at_once`), it is called on construction and the first frame is the whole picture.
    """

    CSS_PATH = "cockpit.tcss"
    TITLE = "tuitrain"
    ENABLE_COMMAND_PALETTE = False
    NOTIFICATION_TIMEOUT = 3.0
    BINDINGS: ClassVar = [
        *(Binding(key.keys, key.action, key.help, show=False, priority=key.everywhere) for key in TABLE),
        Binding("ctrl+p", "find", "find a key by its words", show=False),
        *(Binding(digit, f"focus_pane('{name}')", f"focus {name}", show=False) for digit, name in PANES.items())]

    def __init__(self, run: Path, connect: Callable[[], Session], *, braille: bool = True,
                 clock: Callable[[], float] = time.time, history: RunState | None = None,
                 steady: Callable[[], float] = time.monotonic,
                 here: bool = False, hint: str = "", resume: Callable[[], Session] | None = None,
                 at_once: bool = False) -> None:
        super().__init__(driver_class=Driver)
        self.link = Link(history or RunState(), View(run=str(run), braille=braille, now=clock()))
        if at_once:
            self.link.join(connect())
        self.cockpit = Cockpit()
        show = partial(self.redraw, at_once=True)
        self._asking = asking = Asking(self.link, show)
        parts = actions(
            Conducting(self, self.link, asking), Turning(self, self.link, asking), GoingBack(self, self.link, asking),
            Racing(self, self.link, asking),
            Viewing(self, self.link, self.cockpit, run=run, clock=clock, show=show, show_plots=self.redraw_plots))
        for name, action in parts.items():
            setattr(self, f"action_{name}", self._afresh(action))
        self.failure: Exception | None = None
        self.leaving = False
        """Set by a signal handler; the next tick exits."""
        self.here, self._hint = here, hint
        self.behind: Callable[[], bool] = lambda: False
        """Whether the terminal is still receiving a frame: a slow line gets fewer frames, never outdated ones."""
        self.forget_screen: Callable[[], None] = lambda: None
        """Called if the terminal may show something else than was drawn: it has another size, or was written to."""
        self._draw_pending = False
        self._counted: int | None = None
        self._run, self._connect, self._resume, self._clock = run, connect, resume, clock
        self._steady, self._waits = steady, (0.0, 0.0)
        self._starting = LogTail(RunDirectory(run).log)
        self._next, self._heard_at = 0.0, time.monotonic()

    @property
    def session(self) -> Session | None:
        """The session; None until it is connected."""
        return self.link.session

    @property
    def state(self) -> RunState:
        """The state of the run."""
        return self.link.state

    @property
    def view(self) -> View:
        """The display settings."""
        return self.link.view

    @property
    def ending(self) -> bool:
        """Whether the person at this cockpit requested to save and end."""
        return self._asking.ending

    def _afresh(self, action: Callable[..., None]) -> Callable[..., None]:
        """Return an action before which the answer to the last key and what lies over the panes are removed."""
        def act(*values: Any) -> None:
            self.clear_notifications()
            if self._asking.forget():
                self.redraw(at_once=True)
            action(*values)
        return act

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Called by Textual: return the filters that each row passes through on its way to the terminal."""
        return [*super().get_line_filters(), UNOBEYED]

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Called by Textual: return the screen as SVG."""
        return on_its_background(super().export_screenshot(title=title, simplify=simplify), self.current_theme)

    def get_default_screen(self) -> Screen[Any]:
        """Called by Textual: return the screen at the bottom of the stack, which is never closed."""
        return self.cockpit

    def pop_screen(self) -> AwaitComplete:
        """Called by Textual: close the dialog on top; does nothing if the cockpit itself is on top."""
        return super().pop_screen() if self.screen is not self.cockpit else AwaitComplete()

    def on_mount(self) -> None:
        """Called by Textual."""
        self.set_interval(TICK, self.tick)
        if self.session is None:
            self.begin()
        else:
            self.joined(self.session)

    def on_resize(self) -> None:
        """Called by Textual."""
        self.forget_screen()

    @work(thread=True, exit_on_error=False)
    def begin(self) -> None:
        """Connect without blocking the screen."""
        worker = get_current_worker()
        try:
            session = self._connect()
        except Exception as error:  # reported once the screen has closed
            self.failure = error
            if not worker.is_cancelled:
                self.call_from_thread(self.exit, 1)
            return
        self.call_from_thread(self.joined, session)

    def joined(self, session: Session) -> None:
        """Take the connected session and show its state at once."""
        self.link.join(session)
        self._wait()
        self.redraw(at_once=True)
        if self._hint:
            self.notify(self._hint, timeout=HINT, markup=False)

    def redraw(self, at_once: bool = False) -> None:
        """Pass the state to the panes."""
        self.view.tape = self.link.tape.words if self.link.tape is not None else ""
        if self.cockpit.is_mounted:
            self.cockpit.show(self.state, self.view, time.monotonic(), at_once)

    def redraw_plots(self) -> None:
        """Draw the plots at once, because a person changed them."""
        self.cockpit.show(self.state, self.view, math.inf)

    def action_repaint(self) -> None:
        """Draw the whole screen, also what has not changed: another program's words may stand there."""
        self.forget_screen()
        self.refresh()

    def action_find(self) -> None:
        """Let the person find a key by its words, then do what the key does."""
        def answered(action: str | None) -> None:
            if action is not None:
                self.call_later(self.run_action, action)

        self.push_screen(Find(), answered)

    def action_suspend_process(self) -> None:
        """Suspend the cockpit; refuse where the training shares its process and would stop, too."""
        if self.here:
            self.notify("this process trains too: ctrl+z would stop it; d leaves and training goes on", markup=False)
        else:
            super().action_suspend_process()

    def tick(self) -> None:
        """Fold new events; draw answers at once and everything else at its own pace."""
        if self.leaving:
            self.exit(0)
            return
        self.view.now = self.link.tape.now if self.link.tape is not None else self._clock()
        answered = False
        if self.session is None and (news := self._starting.news()):
            self.view.remark, answered = news, True
        anew, events = self.link.drain()
        answered |= anew | self._asking.outdated()
        for event, when in events:
            self.state.fold(event, when)
            self._heard_at = time.monotonic()
            answered |= self._asking.answered(event)
        if self.session is not None and self.view.connection not in ("starting", "gone"):
            if self.ending and self.state.status == "ended" and self.state.ended != e.CRASHED:
                self.exit(0)
                return
            if self.session.closed:
                self._gone()
                answered = True
        # Without events nothing is drawn once the slowest pane is up to date.
        tape = self.link.tape
        wound = tape is not None and tape.words != self.view.tape
        settled = time.monotonic() - self._heard_at > SETTLED and not wound
        answered |= self._draw_pending
        self._wait()
        left = countdown(self.state, self.view)
        if left != self._counted and not self.behind():  # the countdown changes without an event
            self._counted = left
            self.cockpit.query_one(HeaderPane).show(self.state, self.view, time.monotonic(), at_once=True)
        if answered or (not settled and time.monotonic() >= self._next):
            behind = self.behind()  # read once: an answer that is not drawn now has to be drawn later
            self._draw_pending = behind and answered
            if behind:
                return
            self._next = time.monotonic() + NUMBERS
            self.redraw(at_once=answered)

    def _wait(self) -> None:
        """Update the guard's countdown by a monotonic clock, starting from the time left when it was first seen."""
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
            ago = time.monotonic() - self._heard_at
            self.push_screen(EngineGone(self._run, self.state, ago), self._resume_or_leave)

    def _resume_or_leave(self, answer: str | None) -> None:
        if answer == "leave":
            self.exit(0)
        elif answer == "resume" and self._resume is not None:
            self.link.leave()
            self._connect = self._resume
            self.view.connection, self.view.remark = "starting", "going on from the last checkpoint"
            self.redraw(at_once=True)
            self.begin()
