"""The footer with the most important keys that fit."""

from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import plain_ascii
from tuitrain.ui.keys import TABLE, Key
from tuitrain.ui.panes.header import fit
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

FIRST = ("help", "ask_quit", "why", "detach", "pause", "rollback", "undo")
"""Actions whose keys are kept when there is no room for others."""


class FooterPane(Picture):
    """The footer, made from the table of keys."""

    can_focus = False
    period = 5.0

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one line."""
        labels = {k: self._label(k, view.connection) for k in TABLE}
        if not view.braille:  # before measuring, because some get longer
            labels = {k: plain_ascii(label) for k, label in labels.items()}
        keys = [k for k in TABLE if labels[k]]
        faces = {k: k.face if view.braille else plain_ascii(k.face).replace("_", "space") for k in keys}
        ranked = sorted(keys, key=lambda k: (FIRST.index(k.action) if k.action in FIRST else len(FIRST)) +
                        len(FIRST) * _is_dead(k, view.connection))
        while sum(len(faces[k]) + len(labels[k]) + 3 for k in ranked) > width + 2:
            ranked.pop()
        offers, dim = state.capabilities, self.palette().dim + " strike"
        off = {k for k in keys if _is_dead(k, view.connection) or (view.connection == "live" and k.why_not(offers))}
        return [fit([Text(f"{faces[k]} {labels[k]}", style=dim) if k in off else
                     Text.assemble((faces[k], "bold"), " ", labels[k]) for k in keys if k in ranked], width)]

    @staticmethod
    def _label(key: Key, connection: str) -> str:
        if connection in ("live", "starting"):
            return key.label
        if connection == "replay":
            return key.tape or key.looking
        return key.looking or key.label


def _is_dead(key: Key, connection: str) -> bool:
    """Return whether a key asks something where nobody can be asked: it is dim and says why."""
    return connection in ("read-only", "gone") and bool(key.asks)
