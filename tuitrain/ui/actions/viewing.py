"""Keys that change only the display: windows, axes, panes, themes, screenshots. They send nothing to the engine."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from textual.app import App
from textual.widget import Widget

from tuitrain.telemetry.units import safe
from tuitrain.ui.cockpit import Cockpit
from tuitrain.ui.dialogs import AskValue, Help
from tuitrain.ui.link import Link
from tuitrain.ui.palette import palette_of
from tuitrain.ui.view import WINDOWS
from tuitrain.ui.why import Why

THEMES = {"textual-dark": "dark", "textual-light": "light", "ansi-dark": "the terminal's own colours, dark",
          "ansi-light": "the terminal's own colours, light"}
"""Names of themes, by Textual's names."""
NAMED = 2.0
"""Seconds that such a notification is shown."""


class Viewing:
    """Actions of these keys, one method each. `show` draws what a key changes, `show_plots` the plots, too."""

    def __init__(self, app: App[int], link: Link, cockpit: Cockpit, *, run: Path, clock: Callable[[], float],
                 show: Callable[[], None], show_plots: Callable[[], None]) -> None:
        self._app, self._link, self._cockpit, self._run, self._clock = app, link, cockpit, run, clock
        self._show, self._show_plots = show, show_plots
        self._hidden: tuple[Widget, Widget | None] | None = None
        """A pane chosen by its number that is not shown at this size, and the widget that had the focus then."""

    def focus_pane(self, name: str) -> None:
        """Focus a pane by its number; maximised, it takes the place of the one shown."""
        pane = self._cockpit.query_one(f"#{name}")
        maximised = self._cockpit.has_class("maximised")
        if maximised:
            self._cockpit.maximise_pane(None)
        self._hidden = None if pane.focusable else (pane, self._cockpit.focused)
        pane.focus()
        if maximised:
            self._cockpit.maximise_pane(pane)
        elif self._hidden is not None:
            self._app.notify(f"{name} has no place at this size: z shows it alone", timeout=NAMED, markup=False)

    def maximise(self) -> None:
        """Show the focused pane alone, or all again."""
        pane = self._cockpit.focused
        if self._hidden is not None and self._hidden[1] is pane:
            pane = self._hidden[0]
        if self._cockpit.has_class("maximised"):
            self._cockpit.maximise_pane(None)
        elif pane is not None:
            self._cockpit.maximise_pane(pane)
        else:
            self._app.notify("1 to 9 or tab choose a pane first", timeout=NAMED, markup=False)

    def window(self, by: int) -> None:
        """Show fewer or more steps in the plots."""
        place = WINDOWS.index(self._link.view.window) + by
        self._link.view.window = WINDOWS[min(len(WINDOWS) - 1, max(0, place))]
        self._show()
        self._show_plots()

    def log_axis(self) -> None:
        """Switch the logarithmic loss axis on or off."""
        self._link.view.log_axis = not self._link.view.log_axis
        self._show_plots()

    def filter(self) -> None:
        """Ask for a word and show only log lines that contain it."""
        def answered(text: str | None) -> None:
            if text is not None:
                self._link.view.filter = text.strip()
                self._show()

        before = self._link.view.filter
        self._app.push_screen(AskValue("show log lines with", before, lambda text: (True, "empty: all")), answered)

    def next_theme(self) -> None:
        """Switch to the next theme."""
        names = list(THEMES)
        place = names.index(self._app.theme) if self._app.theme in THEMES else -1
        self._app.theme = names[(place + 1) % len(names)]
        self._app.clear_notifications()  # drops the previous name
        self._app.notify(f"theme: {THEMES[self._app.theme]}", timeout=NAMED, markup=False)
        self._show()

    def screenshot(self, filename: str | None = None, path: str | None = None) -> None:
        """Save a picture of the screen in the run folder."""
        name = filename or f"cockpit-{datetime.fromtimestamp(self._clock()):%Y%m%d-%H%M%S}.svg"
        try:
            where = self._app.save_screenshot(name, path=path or str(self._run))
        except OSError as error:
            self._app.notify(safe(f"no picture: {error}"), severity="error", markup=False)
            return
        self._app.notify(safe(f"picture in {where}"), markup=False)

    def why(self) -> None:
        """Open the why screen."""
        self._app.push_screen(Why(lambda: self._link.state, self._link.view))

    def help(self) -> None:
        """Open the help."""
        self._app.push_screen(Help(self._link.state.capabilities, palette_of(self._app.current_theme).dim))
