"""The keys that matter most, whole ones only."""

from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.keys import TABLE
from tuitrain.ui.panes.header import fit
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

FIRST = ("help", "ask_quit", "detach", "pause", "rollback", "undo")
"""Actions whose keys stay when the others have no room."""


class Footer(Picture):
    """One line from the table of keys."""

    can_focus = False
    period = 5.0

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """One line."""
        keys = [k for k in TABLE if k.label]
        ranked = sorted(keys, key=lambda k: FIRST.index(k.action) if k.action in FIRST else len(FIRST))
        while sum(len(k.face) + len(k.label) + 3 for k in ranked) > width:
            ranked.pop()
        parts = [Text.assemble((k.face if view.braille else k.face.replace("␣", "space").replace("½", "/2"), "bold"),
                               " ", k.label) for k in keys if k in ranked]
        return [fit(parts, width)]
