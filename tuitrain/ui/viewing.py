"""What changes only how the run is looked at: windows, axes, panes, themes, pictures. The engine hears none of it."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from textual.app import App
from textual.filter import LineFilter
from textual.widget import Widget

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import safe
from tuitrain.ui.cockpit import Cockpit
from tuitrain.ui.dialogs import AskValue, Help
from tuitrain.ui.unobeyed import Unobeyed
from tuitrain.ui.view import WINDOWS, View

THEMES = {"textual-dark": "dark", "textual-light": "light", "ansi-dark": "the terminal's own colours, dark",
          "ansi-light": "the terminal's own colours, light"}
"""Textual's names and ours."""
UNOBEYED = Unobeyed()
NAMED = 2.0
"""Seconds that a theme's name stays."""


class Viewing(App[int]):
    """The actions of the table of keys that stay on this side."""

    state: RunState
    view: View
    cockpit: Cockpit
    here: bool
    tape: Any
    _elsewhere: tuple[Widget, Widget | None] | None = None
    """The pane that a number chose and that has no place on a screen of this size, and what had the focus then."""
    _run: Path
    _clock: Callable[[], float]

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Called by Textual: what each row passes through on its way to the terminal."""
        return [*super().get_line_filters(), UNOBEYED]

    def redraw(self, at_once: bool = False) -> None:
        """Hand the state to the panes."""
        self.view.tape = self.tape.words if self.tape is not None else ""
        if self.cockpit.is_mounted:
            self.cockpit.show(self.state, self.view, time.monotonic(), at_once)

    def action_focus_pane(self, name: str) -> None:
        """Focus a pane by its number; maximised, it takes the place of the one shown."""
        pane = self.cockpit.query_one(f"#{name}")
        maximised = self.cockpit.has_class("maximised")
        if maximised:
            self.cockpit.maximise_pane(None)
        self._elsewhere = None if pane.focusable else (pane, self.cockpit.focused)
        pane.focus()
        if maximised:
            self.cockpit.maximise_pane(pane)
        elif self._elsewhere is not None:
            self.notify(f"{name} has no place at this size: z shows it alone", timeout=NAMED, markup=False)

    def action_screenshot(self, filename: str | None = None, path: str | None = None) -> None:
        """A picture of the screen in the run's folder."""
        name = filename or f"cockpit-{datetime.fromtimestamp(self._clock()):%Y%m%d-%H%M%S}.svg"
        try:
            where = self.save_screenshot(name, path=path or str(self._run))
        except OSError as error:
            self.notify(safe(f"no picture: {error}"), severity="error", markup=False)
            return
        self.notify(safe(f"picture in {where}"), markup=False)

    def action_window(self, by: int) -> None:
        """Fewer or more steps in the plots."""
        place = WINDOWS.index(self.view.window) + by
        self.view.window = WINDOWS[min(len(WINDOWS) - 1, max(0, place))]
        self.redraw(at_once=True)
        self.redraw_plots()

    def action_log_axis(self) -> None:
        """Logarithmic loss axis on and off."""
        self.view.log_axis = not self.view.log_axis
        self.redraw_plots()

    def redraw_plots(self) -> None:
        """Plots at once, because a person asked for it."""
        self.cockpit.show(self.state, self.view, math.inf)

    def action_filter(self) -> None:
        """Only log lines with a word."""
        def answered(text: str | None) -> None:
            if text is not None:
                self.view.filter = text.strip()
                self.redraw(at_once=True)

        self.push_screen(AskValue("show log lines with", self.view.filter, lambda t: (True, "empty: all")), answered)

    def action_maximise(self) -> None:
        """The focused pane alone, and back."""
        pane = self.cockpit.focused
        if self._elsewhere is not None and self._elsewhere[1] is pane:
            pane = self._elsewhere[0]
        if self.cockpit.has_class("maximised"):
            self.cockpit.maximise_pane(None)
        elif pane is not None:
            self.cockpit.maximise_pane(pane)
        else:
            self.notify("1 to 9 or tab choose a pane first", timeout=NAMED, markup=False)

    def action_next_theme(self) -> None:
        """Dark, light, the terminal's own."""
        names = list(THEMES)
        place = names.index(self.theme) if self.theme in THEMES else -1
        self.theme = names[(place + 1) % len(names)]
        self.clear_notifications()  # only the newest name is true
        self.notify(f"theme: {THEMES[self.theme]}", timeout=NAMED, markup=False)
        self.redraw(at_once=True)

    def action_suspend_process(self) -> None:
        """The cockpit only: where the training shares its process, that would stop it too."""
        if self.here:
            self.notify("this process trains too: ctrl+z would stop it; d leaves and training goes on", markup=False)
        else:
            super().action_suspend_process()

    def action_help(self) -> None:
        """The table of keys."""
        self.push_screen(Help())
