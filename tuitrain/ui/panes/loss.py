"""Training and validation loss in bits per character over steps. Knows nothing of what moves them."""

import numpy as np
from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import LEAST, LN2, bpc
from tuitrain.ui.panes.axis import bad_steps, recent, x_limits
from tuitrain.ui.panes.header import fit
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import Chart, Curve, faces, nice_limits, nice_ticks, smooth
from tuitrain.ui.view import View

USUAL = 98
"""Percentile of the training curve above which numbers may leave the plot: the first steps are no news later."""
NEAR = 0.5
"""Bits above the least level from which on it is kept in the picture."""

TURNED = "act or alarm"
"""What a mark below the plot means."""


class Loss(Picture):
    """The plot and one line of numbers."""

    period = 1.0
    heading = "loss · bits per character"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """The plot above, the newest numbers below."""
        words = self._words(state, view, width)
        if not len(state.losses):
            return [Text("no steps yet", style=self.palette().dim)]
        chart = self._chart(state, view)
        return [*chart.draw(width, height - 1, view.braille), words]

    def _chart(self, state: RunState, view: View) -> Chart:
        colours = self.palette()
        left, right = x_limits(state, view)
        steps, values = recent(state.losses, state.loss, view.window)
        values = smooth(values / LN2, max(1, len(values) // 60))
        curves = []
        if state.ghost is not None:
            at, _, _, mean, _ = state.ghost[1].buckets()
            curves.append(Curve(at, smooth(mean / LN2, max(1, len(mean) // 60)), colours.ghost))
        curves.append(Curve(steps, values, colours.train))
        vals = np.array([[s, loss / LN2] for s, loss in state.evaluations if s >= left]).reshape(-1, 2)
        curves.append(Curve(vals[:, 0], vals[:, 1], colours.validation, dots=True))
        seen = values[np.isfinite(values)]
        usual = seen[seen <= np.percentile(seen, USUAL)] if len(seen) > 40 else seen
        shown = np.concatenate([usual, vals[:, 1]])
        measured = state.facts.get("levels", {})
        levels = [(bits, colours.limit if name == LEAST else colours.ghost, name) for name, bits in measured.items()]
        if state.best_loss is not None:
            levels.append((bpc(state.best_loss), colours.validation, ""))
        least = measured.get(LEAST)
        if least is not None and len(shown) and shown.min() - least < NEAR:
            shown = np.append(shown, least)
        # The gravest last, so that nothing hides an alarm.
        marks = [(float(m.step), colours.alarm if m.alarming else colours.validation if m.warning else colours.dim)
                 for m in sorted(state.story.marks, key=lambda m: (m.alarming, m.warning))]
        marks += [(s, colours.alarm) for s in bad_steps(state.losses)]
        if view.log_axis:
            for i, c in enumerate(curves):
                curves[i] = Curve(c.x, np.log10(np.maximum(c.y, 1e-6)), c.colour, c.dots)
            low, high = nice_limits(np.log10(np.maximum(shown, 1e-6)), 0.05)
            ticks = [(t, f"{10**t:.2f}") for t in nice_ticks(low, high, 5)]
            levels = [(float(np.log10(max(v, 1e-6))), c, name) for v, c, name in levels]
        else:
            low, high = nice_limits(shown, 0.2)
            ticks = faces(nice_ticks(low, high, 5))
        return Chart(curves, (low, high), ticks, (left, right), levels, marks, colours.dim)

    def _words(self, state: RunState, view: View, width: int) -> Text:
        colours = self.palette()
        parts = [Text(f"─ train {bpc(state.train_loss):.3f}", style=colours.train)]
        if state.val_loss is not None and state.best_loss is not None:
            parts.append(Text(f"○ val {bpc(state.val_loss):.3f}", style=colours.validation))
            best, at = f"best {bpc(state.best_loss):.3f}", f" at {state.best_step:,}"
            room = width - sum(part.cell_len + 2 for part in parts)
            parts.append(Text(best + at if len(best + at) <= room else best, style=colours.dim))
        if state.story.marks:
            parts.append(Text(f"{'▲' if view.braille else '^'} {TURNED}", style=colours.dim))
        return fit(parts, width)
