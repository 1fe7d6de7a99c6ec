"""Gradient norms per parameter group: a sparkline and the newest number."""

import numpy as np
from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.series import Array
from tuitrain.telemetry.units import number, safe
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"


class GroupsPane(Picture):
    """One row per group, all on one scale, so that heights are comparable."""

    period = 1.0
    heading = "groups · gradient norm"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return rows of name, sparkline and number."""
        colours, rows = self.palette(), []
        longest = max((len(name) for name in state.norms), default=0)
        room = max(4, width - longest - 10)
        everything = np.concatenate([r.last(room) for r in state.norms.values()]) if state.norms else np.zeros(0)
        for name, ring in list(state.norms.items())[:height]:
            values = ring.last(room)
            row = Text(f"{name.ljust(longest)} ")
            row.append(spark(values, everything, BLOCKS if view.braille else ASCII).rjust(room), style=colours.train)
            row.append(number(float(values[-1])).rjust(9))
            rows.append(row)
        return [*rows, *self._curves(state, view, width, height - len(rows))]

    def _curves(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return rows of the curves that a script logs, each on its own scale."""
        colours, rows = self.palette(), []
        longest = max((len(name) for name in state.curves), default=0)
        room = max(4, width - longest - 10)
        for name, ring in list(state.curves.items())[: max(0, height)]:
            values = ring.last(room)
            row = Text(f"{safe(name).ljust(longest)} ")
            row.append(spark(values, values, BLOCKS if view.braille else ASCII).rjust(room), style=colours.validation)
            rows.append(row.append(number(float(values[-1])).rjust(9)))
        return rows


def spark(values: Array, scale: Array, faces: str, span: float = 4.0) -> str:
    """Return a sparkline on the logarithmic scale of `scale`, which spans at least a factor of `span`.

    Numbers that are not finite are shown as `!`.
    """
    good = scale[np.isfinite(scale) & (scale > 0)]
    if not len(good):
        return "!" * len(values)
    low, high = np.log(good.min()), np.log(good.max())
    width = max(high - low, np.log(span))
    return "".join("!" if not np.isfinite(v) else faces[0] if v <= 0 else
                   faces[int(np.clip((np.log(v) - low) / width * (len(faces) - 1), 0, len(faces) - 1))] for v in values)
