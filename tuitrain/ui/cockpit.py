"""The main screen with the layout of all panes. Knows nothing of sessions or keys."""

import os
from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.screen import Screen
from textual.widget import Widget

from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.panes.footer import FooterPane
from tuitrain.ui.panes.header import FactsPane, HeaderPane, ProgressPane
from tuitrain.ui.panes.log import LogPane
from tuitrain.ui.panes.registry import panes_of
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View


class Cockpit(Screen[None]):
    """Lays the panes out for the size of the terminal."""

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield HeaderPane("header")
        yield FactsPane("facts")
        with Horizontal(classes="columns"):
            for place in ("left", "right", "third"):
                with Vertical(id=place, classes="column"):
                    yield from panes_of(place)
        with Horizontal(id="bottom"):
            yield from panes_of("bottom")
        yield from panes_of("below")
        yield ProgressPane("progress")
        yield FooterPane("footer")

    def on_resize(self, event: Resize) -> None:
        """Called by Textual: choose the layout for the size."""
        width, height = event.size
        tiny = width < 60 or height < 16
        small = not tiny and (width < 100 or height < 32)
        self.set_class(tiny, "tiny")
        self.set_class(small, "small")
        self.set_class(small and height < 20, "short")
        self.set_class(width >= 160 and height >= 44, "large")

    def show(self, state: RunState, view: View, now: float, at_once: bool = False) -> None:
        """Pass the state to every pane; each draws at its own pace. `at_once` is for answers to a key."""
        self.set_class(not view.braille, "ascii")
        for pane in self.panes():
            quick = at_once and pane.id in ("knobs", "header", "timeline", "log")
            try:
                pane.show(state, view, now, quick)
            except Exception as error:
                # A bug in one pane must not close the screen in the middle of a run.
                if os.environ.get("TUITRAIN_TRACEBACK"):
                    raise
                view.remark = f"the pane {pane.id} failed: {type(error).__name__}; TUITRAIN_TRACEBACK=1 shows where"

    def panes(self) -> Iterator[Picture | LogPane]:
        """Yield all panes."""
        yield from self.query(Picture)
        yield from self.query(LogPane)

    def maximise_pane(self, pane: Widget | None) -> None:
        """Show one pane alone between header and footer; None shows all again."""
        self.set_class(pane is not None, "maximised")
        keep = {"header", "progress", "footer"}
        for other in self.panes():
            other.set_class(pane is not None and other is not pane and other.id not in keep, "away")
        for box in self.query(".column, .columns, #bottom"):
            around = pane is not None and pane in box.walk_children()
            box.set_class(pane is not None and not around, "away")
            box.set_class(around, "around")
        if pane is not None:
            pane.styles.height, pane.styles.width, pane.styles.display = "1fr", "1fr", "block"
        else:
            for other in self.panes():
                other.styles.clear_rule("height")
                other.styles.clear_rule("width")
                other.styles.clear_rule("display")
