"""The results of the last probe: gate saturation, the recurrence, the gradient back through time."""

import textwrap
from collections.abc import Sequence

import numpy as np
from rich.text import Text

from tuitrain.protocol import groups
from tuitrain.protocol.commands import LookInside
from tuitrain.telemetry.readings import Layer
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import LN2, bpc, number, percent, safe
from tuitrain.ui.panes.groups import ASCII, BLOCKS
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

DEEPEST = -8.0
"""log10 of the gradient relative to the last step's at the bottom of the flow's bars."""


class InsidePane(Picture):
    """A block of rows per layer; the wide layout shows it."""

    period = 2.0
    heading = "inside"

    def title(self, state: RunState, view: View) -> str:
        """Return the title with the step of the probe."""
        return f"inside · step {state.health.probe.step:,}" if state.health.probe is not None else "inside"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the numbers of the probe, then those of each layer."""
        probe, dim = state.health.probe, self.palette().dim
        if probe is None:
            why = state.capabilities.why_not(LookInside)
            words = textwrap.wrap(why or "the next look inside comes soon", max(12, width))
            return [Text(row, style=dim) for row in words]
        rows = [Text.assemble(("held-out ", dim), f"{bpc(probe.loss):.3f} bpc",
                              ("  unsure by ", dim), f"{probe.entropy / LN2:.2f} bits")]
        for i, layer in enumerate(probe.layers, 1):
            rows += [Text(""), Text(groups.layer(i), style="bold"), *self._layer(layer, state, i, view, width)]
        return rows[:height]

    def _layer(self, layer: Layer, state: RunState, number_: int, view: View, width: int) -> list[Text]:
        dim, faces = self.palette().dim, BLOCKS if view.braille else ASCII
        pinned = Text("share of each gate at its ends", style=dim)
        each = Text.assemble(*(part for gate, share in layer.saturation.items() for part in (
            (f"{safe(gate)} ", dim), f"{percent(share)}  ")))
        update = state.health.updates.get(groups.layer(number_))
        row = Text.assemble(("radius ", dim), number(layer.radius, 3), ("  dead ", dim),
                              percent(layer.dead), ("  update ", dim),
                              number(update, 2) if update is not None else "")
        flow = bars(layer.flow, max(4, width - 2), faces)
        worst = number(layer.worst, 2)
        words = next((w for w in ("gradient back through time, log; worst ", "gradient back in time; worst ", "worst ")
                      if len(w) + len(worst) <= width), "worst ")
        way = Text.assemble((words, dim), worst)
        return [pinned, each, row, way, Text(flow, style=self.palette().train)]


def bars(flow: Sequence[float], room: int, faces: str) -> str:
    """Return bars for the log10 of the gradient by time step, oldest first, from `DEEPEST` to 0 (full)."""
    values = np.array(flow)
    if len(values) > room:
        values = np.array([part.max() for part in np.array_split(values, room)])
    share = np.clip((values - DEEPEST) / -DEEPEST, 0.0, 1.0)
    return "".join(faces[round(float(s) * (len(faces) - 1))] for s in share)
