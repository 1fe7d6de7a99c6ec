"""The application: examines in a thread, shows each checkpoint as it is done, and moves a cursor over them."""

from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.worker import get_current_worker

from tuitrain.autopsy.cockpit.exhibit import Exhibit
from tuitrain.autopsy.cockpit.panes import (
    BesideInside,
    BesideSample,
    CurvePane,
    Footer,
    Header,
    NumbersPane,
    VerdictPane,
)
from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.inquest import Autopsy, Report
from tuitrain.errors import ERROR
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.actions.viewing import THEMES
from tuitrain.ui.driver import Driver
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

Perform = Callable[[Report, Callable[[Examined], None]], Autopsy]


class Left(Exception):
    """The person has left; what was examined is kept."""


class AutopsyApp(App[int]):
    """`perform` is called in a thread with what reports progress and what takes each checkpoint."""

    CSS_PATH = "autopsy.tcss"
    TITLE = "tuitrain autopsy"
    BINDINGS: ClassVar = [
        Binding("comma,left", "move(-1)", "the checkpoint before", show=False),
        Binding("full_stop,right", "move(1)", "the next checkpoint", show=False),
        Binding("home", "move(-1000000)", "the first", show=False),
        Binding("end", "move(1000000)", "the last", show=False),
        Binding("left_square_bracket", "healthy", "the last healthy one", show=False),
        Binding("right_square_bracket", "broken", "the first broken one", show=False),
        Binding("t", "next_theme", "next theme", show=False),
        Binding("q,ctrl+c,ctrl+q,escape", "leave", "quit", show=False, priority=True)]

    def __init__(self, folder: str, perform: Perform, *, braille: bool = True) -> None:
        super().__init__(driver_class=Driver)
        self.exhibit = Exhibit(folder)
        self.failure: Exception | None = None
        self._perform, self._view = perform, View(run=folder, braille=braille)

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        shown = self.exhibit
        yield Header("header", shown)
        with Horizontal(id="top"):
            with Vertical(id="curves"):
                yield CurvePane("losses", shown, "validation loss · nats", lambda each: _number(each.loss))
                yield CurvePane("radii", shown, "spectral radius of the candidate block · log",
                                lambda each: each.radius, log=True)
            yield NumbersPane("numbers", shown)
            yield BesideInside("inside", shown)
        with Horizontal(id="samples"):
            yield BesideSample("beside", shown, lambda it: it.beside, "healthy")
            yield BesideSample("here", shown, lambda it: it.here, "here")
        yield VerdictPane("verdict", shown)
        yield Footer("footer")

    def on_mount(self) -> None:
        """Called by Textual."""
        self.begin()
        self.show()

    def on_resize(self, event: Resize) -> None:
        """Called by Textual: choose the layout for the size."""
        width, height = event.size
        small = width < 100 or height < 32
        self.screen.set_class(small, "small")
        self.screen.set_class(width >= 160 and height >= 44, "large")
        self.screen.set_class(not self._view.braille, "ascii")
        self.call_after_refresh(self.show)

    @work(thread=True, exit_on_error=False)
    def begin(self) -> None:
        """Examine without blocking the screen."""
        worker = get_current_worker()

        def report(done: int, of: int, name: str) -> None:
            if worker.is_cancelled:
                raise Left
            self.call_from_thread(self._progress, of, name)

        def take(each: Examined) -> None:
            if not worker.is_cancelled:
                self.call_from_thread(self._take, each)

        try:
            found = self._perform(report, take)
        except Left:
            return
        except Exception as error:  # reported once the screen has closed
            self.failure = error
            if not worker.is_cancelled:
                self.call_from_thread(self.exit, ERROR)
            return
        if not worker.is_cancelled:
            self.call_from_thread(self._conclude, found)

    def show(self) -> None:
        """Draw every pane; rows that have not changed are not drawn again."""
        state = RunState()
        for pane in self.query(Picture):
            pane.show(state, self._view, 0.0, at_once=True)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.exhibit.move(by)
        self.show()

    def action_healthy(self) -> None:
        """Go to the last healthy checkpoint."""
        self._go(None if self.exhibit.found is None else self.exhibit.found.line.last_healthy)

    def action_broken(self) -> None:
        """Go to the first broken checkpoint."""
        self._go(None if self.exhibit.found is None else self.exhibit.found.line.first_broken)

    def action_next_theme(self) -> None:
        """Switch to the next theme."""
        names = list(THEMES)
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.show()

    def action_leave(self) -> None:
        """Leave."""
        self.workers.cancel_all()
        self.exit(0)

    def _go(self, to: int | None) -> None:
        if to is None:
            self.notify("there is none" if self.exhibit.found is not None else "known when all are examined",
                        timeout=2.0, markup=False)
            return
        self.exhibit.go(to)
        self.show()

    def _progress(self, of: int, name: str) -> None:
        self.exhibit.of, self.exhibit.name = of, name
        self.show()

    def _take(self, each: Examined) -> None:
        self.exhibit.add(each)
        self.show()

    def _conclude(self, found: Autopsy) -> None:
        self.exhibit.conclude(found)
        self.show()


def _number(loss: float | None) -> float:
    return float("nan") if loss is None else loss
