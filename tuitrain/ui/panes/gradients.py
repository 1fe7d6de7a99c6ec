"""Gradient norm before clipping, on a logarithmic axis, against the clip. Knows nothing of advice."""

import numpy as np
from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number, percent, safe
from tuitrain.ui.panes.axis import bad_steps, stretch, x_limits
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import Chart, Curve, nice_ticks
from tuitrain.ui.view import View

LARGE = 3.0
"""The largest norm is shown if it is this many times the present one."""
LOOK = 500
"""Steps over which the effect of the clip is counted, fewer if it was set since."""
LIMITER = 0.1
"""Share of clipped steps above which the clip limits ordinary steps instead of guarding against rare ones."""


class GradientsPane(Picture):
    """The plot, and a line on the clip."""

    period = 1.0
    heading = "gradient norm before clipping · log"

    def title(self, state: RunState, view: View) -> str:
        """Return the title, which says where the norm is measured."""
        return f"gradient norm {safe(state.facts.norms or 'before clipping')} · log"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the plot and the line below it."""
        if not len(state.grad_norms):
            return [Text("no steps yet", style=self.palette().dim)]
        return [*self._chart(state, view).draw(width, height - 1, view.braille), self._words(state, width)]

    def _chart(self, state: RunState, view: View) -> Chart:
        colours = self.palette()
        shown = stretch(state.grad_norms, state.grad_norm, view.window)
        # A mean would hide a single spike among a hundred steps, which is what matters here.
        at, extremes = shown.band
        band = np.log10(np.maximum(extremes, 1e-12))
        curves = []
        for line, before in state.left_lines():
            gone = stretch(line.grad_norms, line.grad_norm, 0).after(before)
            curves.append(Curve(gone.steps, np.log10(np.maximum(gone.mean, 1e-12)), colours.dim))
        curves.append(Curve(shown.steps, np.log10(np.maximum(shown.mean, 1e-12)), colours.train))
        if shown.width > 1:
            curves.insert(0, Curve(at, band, colours.ghost))
        band = band[np.isfinite(band)]
        clip = float(state.knobs.get("clip") or 0)
        low, high = (float(band.min()), float(band.max())) if len(band) else (-1.0, 1.0)
        levels, labels = [], []
        if clip > 0:
            # The line is shown even if it is far above the norms, to show that the clip never acts.
            level = float(np.log10(clip))
            low, high = min(low, max(level, low - 3)), max(high, min(level, high + 3))
            levels.append((level, colours.limit, ""))
            labels.append((level, number(clip)))
        low, high = np.floor(low * 2) / 2, np.ceil(high * 2 + 0.01) / 2
        ticks = [(t, number(10.0**t)) for t in nice_ticks(low, high, 4)]
        marks = [(s, colours.alarm) for s in bad_steps(state.grad_norms)]
        return Chart(curves, (low, high), ticks, x_limits(state, view), levels, marks,
                     colours.dim, labels)

    def _words(self, state: RunState, width: int) -> Text:
        colours, largest, clips = self.palette(), state.grad_norms.largest(), self._clip(state)
        for most in ("largest", "max"):  # the shorter word leaves room for the clip
            words = Text(f"now {number(state.norm)}", style=colours.train)
            if largest is not None and largest[0] > LARGE * state.norm:
                words.append(f" · {most} {number(largest[0])} at {largest[1]:,}", style=colours.alarm)
            for clip in clips:
                if words.cell_len + len(clip) <= width:
                    return words.append(clip, style=colours.limit)
        return words

    @staticmethod
    def _clip(state: RunState) -> list[str]:
        """Describe the clip and its effect, from the longest wording to the shortest."""
        clip = float(state.knobs.get("clip") or 0)
        advised = f", advised {number(state.health.advice.value)}" if state.health.advice is not None else ""
        if state.config.get("clip_kind") == "element":
            return [f" · each element clamped to ±{number(clip)}", f" · clamp {number(clip)}"]
        if not clip:
            return [f" · clip off{advised}", " · clip off"]
        since, (acted, of) = state.clip_since, state.clip_acted(LOOK)
        did = what_clip_did(acted, of, since if since and of == state.step - since else None)
        set_at = f" since {since:,}" if since else ""
        share = percent(acted / of) if of else "set just now"
        return [f" · ╌ clip {number(clip)}{set_at}{advised}: {did}", f" · ╌ clip {number(clip)}{set_at}: {did}",
                f" · clip {number(clip)}{set_at}: {share}", f" · clip {number(clip)}: {share}",
                f" · clip {number(clip)}"]


def what_clip_did(acted: int, of: int, since: int | None = None) -> str:
    """Describe the effect of the clip on the newest `of` steps, which are all steps after `since` if that is given."""
    if not of:
        return "set just now"
    stretched = f"the last {of:,} steps" if since is None else f"{of:,} {'steps' if of > 1 else 'step'} since"
    if not acted:
        return f"acted on none of {stretched}"
    return f"acted on {percent(acted / of)} of {stretched}, " + ("a guard" if acted < LIMITER * of
                                                                 else "a step limiter")
