"""The knobs as confirmed by the engine, pending changes, and the learning rate in force."""

import math
import textwrap
from typing import Any

from rich.text import Text

from tuitrain.diagnosis.clip_advisor import medians
from tuitrain.knobs import KNOBS
from tuitrain.protocol.facts import AFTER_CLIPPING
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number, percent, safe
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View


class KnobsPane(Picture):
    """A row per knob, or all in one row if there is no room."""

    heading = "knobs"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the rows; pending values are in italics."""
        if not state.knobs:
            return [Text("…", style=self.palette().dim)]
        room = width if height >= 3 else width // 2  # the others stand in the same row
        rows = [self._row(name, state, view, room) for name in ("lr", "clip", "temperature")
                if name != "temperature" or not state.capabilities.knobs.get(name)]
        answer = self._answer(view)
        if height >= 3:
            if answer.plain:  # in full, because it says what to do instead
                words = textwrap.wrap(answer.plain, max(12, width))[: height - 1]
                rows = [*rows[: height - len(words)], *(Text(row, style=answer.style) for row in words)]
            elif height > 3 and not state.capabilities.knobs.get("prompt"):
                rows.append(Text("prompt ").append(safe(str(state.knobs.get("prompt", "")))[: width - 8]))
            return rows
        line = Text("  ").join(rows)
        return [answer if answer.plain else line]

    def _answer(self, view: View) -> Text:
        """Return why the last key did nothing; empty if it did something, or was pressed a while ago."""
        if view.refused:
            return Text(f"refused: {view.refused}", style=self.palette().alarm)
        return Text(view.said, style=self.palette().limit)

    def _row(self, name: str, state: RunState, view: View, width: int) -> Text:
        row = Text((KNOBS[name].label or name).ljust(5))
        if state.capabilities.knobs.get(name):
            return row.append("the script's own", style=self.palette().dim)
        row.append(face(name, state.knobs.get(name)), style="bold")
        asked = view.asking(name)
        if name == "lr" and asked is None:  # the two do not fit side by side
            row.append(in_force(state, width - row.cell_len), style=self.palette().dim)
        if asked is not None:
            row.append(f"  asked {face(name, asked)} …", style="italic " + self.palette().limit)
        elif name == "clip" and state.knobs.get("clip"):
            before = state.facts.norms != AFTER_CLIPPING
            times = math.nan if not before else medians(float(state.knobs["clip"]), state.grad_norm.last(500))
            if not math.isnan(times):
                row.append(f"  {number(times, 2)} medians" + (", auto" if state.knobs.get("clip_auto") else ""),
                           style=self.palette().dim)
        return row


def in_force(state: RunState, room: int) -> str:
    """Return what is in force of the learning rate, and while it warms up until when."""
    words = f"  in force {number(state.lr_in_force)}"
    base, warm = float(state.knobs.get("lr") or 0), state.facts.warmup
    if not base or state.step >= warm:
        return words
    share = percent(state.lr_in_force / base)
    wordings = (f"{words}, {share}: warm-up until step {warm:,}", f"  warm-up: {share} until step {warm:,}",
                f"  {share}: warm-up to {warm:,}", f"  warm-up: {share}")
    return next((w for w in wordings if len(w) <= room), wordings[-1])


def face(name: str, value: Any) -> str:
    """Return a knob's value as it is shown."""
    if isinstance(value, tuple | list):
        return " ".join(number(float(v)) for v in value)
    if name in KNOBS and KNOBS[name].zero and value == 0:
        return KNOBS[name].zero
    return safe(value) if isinstance(value, str) else number(float(value or 0), 4)
