"""Gradient norm before clipping, on a logarithmic axis, against the clip. Knows nothing of advice."""

import numpy as np
from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number, percent
from tuitrain.ui.panes.axis import bad_steps, recent, x_limits
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import Chart, Curve, nice_ticks
from tuitrain.ui.view import View

LIMITER = 0.1
"""Share of clipped steps from which the clip sets the size of steps rather than guards against rare ones."""


class Gradients(Picture):
    """The plot and what the clip is in this run."""

    period = 1.0
    heading = "gradient norm before clipping · log"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """The plot above, the words below."""
        if not len(state.grad_norms):
            return [Text("no steps yet", style=self.palette().dim)]
        return [*self._chart(state, view).draw(width, height - 1, view.braille), self._words(state, width)]

    def _chart(self, state: RunState, view: View) -> Chart:
        colours = self.palette()
        steps, values = recent(state.grad_norms, state.grad_norm, view.window)
        values = np.log10(np.maximum(values, 1e-12))
        shown = values[np.isfinite(values)]
        clip = float(state.knobs.get("clip") or 0)
        low, high = (float(shown.min()), float(shown.max())) if len(shown) else (-1.0, 1.0)
        levels = []
        if clip > 0:
            # The line is shown even where it is far above: that it never acts is the news.
            level = float(np.log10(clip))
            low, high = min(low, max(level, low - 3)), max(high, min(level, high + 3))
            levels.append((level, colours.limit, ""))
        low, high = np.floor(low * 2) / 2, np.ceil(high * 2 + 0.01) / 2
        ticks = [(t, number(10.0**t)) for t in nice_ticks(low, high, 4)]
        marks = [(s, colours.alarm) for s in bad_steps(state.grad_norms)]
        return Chart([Curve(steps, values, colours.train)], (low, high), ticks, x_limits(state, view), levels, marks,
                     colours.dim)

    def _words(self, state: RunState, width: int) -> Text:
        colours, words = self.palette(), Text()
        words.append(f"now {number(state.norm)}", style=colours.train)
        clip, share = float(state.knobs.get("clip") or 0), state.share_clipped
        if state.config.get("clip_kind") == "element":
            words.append(f"  each element clamped to ±{number(clip)}", style=colours.limit)
        elif not clip:
            words.append("  clip is off", style=colours.limit)
        else:
            words.append(f"  ╌ clip {number(clip)}", style=colours.limit)
            role = what_clip_is(share)
            brief = role.removesuffix(" here").removeprefix("it ").removeprefix("a ")
            for said in (f": clipped {percent(share)} of the last 500, {role}", f": {percent(share)}, {role}",
                         f": {percent(share)}, {brief}", f": {brief}"):
                if words.cell_len + len(said) <= width:
                    words.append(said)
                    break
        return words


def what_clip_is(share: float) -> str:
    """The part the clip plays, from the share of steps it acts on."""
    if share == 0:
        return "it never acts here"
    return "a guard here" if share < LIMITER else "a step limiter here"
