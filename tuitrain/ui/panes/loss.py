"""Training and validation loss over steps, in the run's unit."""

import numpy as np
from rich.text import Text

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.series import Array
from tuitrain.telemetry.units import LEAST, loss_text, number, safe
from tuitrain.ui.panes.axis import bad_steps, holds, stretch, x_limits
from tuitrain.ui.panes.header import fit
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import Chart, Curve, faces, nice_limits, nice_ticks, smooth
from tuitrain.ui.view import View

FIRST = 0.02
"""Share of the steps at the start whose high losses may be cut off, as they do not matter later."""
NEAR = 0.5
"""The least level is kept in the plot if the loss is within this many bits of it."""

PART = "∙"
"""The sign for the loss of a part of the validation text; that of the whole text is a circle."""
TURNED = "act or alarm"
"""Meaning of a mark below the plot."""


class LossPane(Picture):
    """The plot and one line of numbers."""

    period = 1.0
    heading = "loss · bits per character"

    def title(self, state: RunState, view: View) -> str:
        """Return the title with the unit of the loss."""
        return "loss" if state.unit.name == "loss" else f"loss · {safe(state.unit.name)}"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the plot and the newest numbers below it."""
        words = self._words(state, view, width)
        if not len(state.losses):
            return [Text("no steps yet", style=self.palette().dim)]
        chart = self._chart(state, view)
        return [*chart.draw(width, height - 1, view.braille), words]

    def _chart(self, state: RunState, view: View) -> Chart:
        colours, scale = self.palette(), state.unit.scale
        left, right = x_limits(state, view)
        numbers = stretch(state.losses, state.loss, view.window)
        at, extremes = numbers.band
        band = extremes * scale
        curves = [Curve(at, band, colours.ghost)]
        for line, before in state.left_lines():
            gone = stretch(line.losses, line.loss, 0).after(before)
            curves.append(Curve(gone.steps, _smooth(gone.mean * scale, gone.width), colours.dim))
        if state.race is not None and holds(state):
            for runner in state.race.runners:
                steps, _, _, mean, _ = runner.curve.buckets()
                curves.append(Curve(steps, _smooth(mean * scale, runner.curve.width), colours.dim))
        curves.append(Curve(numbers.steps, _smooth(numbers.mean * scale, numbers.width), colours.train))
        dots = {kind: np.array([[step, loss * scale] for step, loss in kind_of if step >= left]).reshape(-1, 2)
                for kind, kind_of in (("○", state.validation.whole), (PART, state.validation.part))}
        for face, vals in dots.items():
            curves.append(Curve(vals[:, 0], vals[:, 1], colours.validation, face))
        # A collapse stays in the plot, however long ago; the high losses of the first steps do not.
        usual = band[at > numbers.steps[0] + FIRST * (numbers.steps[-1] - numbers.steps[0])] if len(at) > 80 else band
        shown = np.concatenate([usual[np.isfinite(usual)], *(vals[:, 1] for vals in dots.values())])
        measured = state.facts.levels
        levels = [(bits, colours.limit if name == LEAST else colours.ghost, name) for name, bits in measured.items()]
        if state.best_loss is not None:
            levels.append((state.best_loss * scale, colours.validation, ""))
        least = measured.get(LEAST)
        if least is not None and len(shown) and shown.min() - least < NEAR:
            shown = np.append(shown, least)
        # Alarms last, so that nothing hides them.
        here = [m for m in state.story.marks if state.lineage.holds(m.branch, m.step)]
        marks = [(float(m.step), colours.alarm if m.alarming else colours.validation if m.warning else colours.dim)
                 for m in sorted(here, key=lambda m: (m.alarming, m.warning))]
        marks += [(s, colours.alarm) for s in bad_steps(state.losses)]
        if view.log_axis:
            for i, c in enumerate(curves):
                curves[i] = Curve(c.x, np.log10(np.maximum(c.y, 1e-6)), c.colour, c.face)
            low, high = nice_limits(np.log10(np.maximum(shown, 1e-6)), 0.05)
            ticks = [(t, f"{10**t:.2f}" if scale != 1 else number(10**t)) for t in nice_ticks(low, high, 5)]
            levels = [(float(np.log10(max(v, 1e-6))), c, name) for v, c, name in levels]
        else:
            low, high = nice_limits(shown, 0.2)
            ticks = faces(nice_ticks(low, high, 5))
        return Chart(curves, (low, high), ticks, (left, right), levels, marks, colours.dim)

    def _words(self, state: RunState, view: View, width: int) -> Text:
        colours, unit = self.palette(), state.unit
        parts = [Text(f"─ train {loss_text(state.train_loss, unit)}", style=colours.train)]
        newest, best = state.validation.newest_part, state.best_loss
        acts = Text(f"{'▲' if view.braille else '^'} {TURNED}", style=colours.dim) if state.story.marks else Text()
        if state.val_loss is not None:
            parts.append(Text(f"○ val {loss_text(state.val_loss, unit)}", style=colours.validation))
        lowest = []
        if best is not None:
            words = f"best {loss_text(best, unit)}"
            lowest = [Text(f"{words} at {state.best_step:,}", style=colours.dim), Text(words, style=colours.dim)]
        if newest is not None:
            others = [text for text in (*parts, *lowest[:1], acts) if text.cell_len]
            parts.append(self._of_part(newest[1], state, width - sum(text.cell_len + 2 for text in others)))
        if lowest:
            room = width - sum(text.cell_len + 2 for text in parts)
            parts.append(lowest[0] if lowest[0].cell_len <= room else lowest[1])
        return fit([*parts, acts], width)

    def _of_part(self, loss: float, state: RunState, room: int) -> Text:
        """Return what the dots are: of another text than the whole, so no better or worse number than that."""
        colours, value = self.palette(), loss_text(loss, state.unit)
        if state.val_loss is None:
            wordings = [f"{PART} {value} on a small part of val", f"{PART} part of val {value}", f"{PART} part of val"]
        else:
            wordings = [f"{PART} {value} on a small fixed part of val, measured oftener",
                        f"{PART} small part of val, oftener", f"{PART} small part of val",
                        f"{PART} part of val", f"{PART} part"]
        words = next((w for w in wordings if len(w) <= room), wordings[-1])
        return Text(words, style=colours.validation if state.val_loss is None else colours.dim)


def _smooth(values: Array, width: int) -> Array:
    """Smooth by the mean over a sixtieth of the line, less if each number is already the mean of `width` steps."""
    return smooth(values, max(1, len(values) // 60 // width))
