"""Restore points, interventions and the present on a line of steps."""

from rich.text import Text

from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import size
from tuitrain.ui.panes.axis import x_limits
from tuitrain.ui.panes.header import fit
from tuitrain.ui.picture import Picture
from tuitrain.ui.plot import short
from tuitrain.ui.view import View


class TimelinePane(Picture):
    """◇ snapshot, ◆ checkpoint, ★ best, ↩ rollback, ▲ another act, ✗ broken, ! it may break, ▸ now.

    Restore points of other lines are dim, because a rollback to them is possible; marks there are not shown.
    """

    period = 2.0
    heading = "timeline"

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the line, its labels and the legend, as far as there is room."""
        line, labels = self._line(state, view, width)
        points = state.story.points.values()
        disk, memory = sum(p.on_disk for p in points), sum(not p.on_disk for p in points)
        held = size(sum(p.bytes for p in points if not p.on_disk))
        words = (f"◆ {disk} on disk", f"◇ {memory} in memory, {held}", "★ best", "↩ back", "▲ act", "✗ broken",
                 "! warning")
        if not view.braille:
            words = (f"# {disk} on disk", f"o {memory} in memory, {held}", "* best", "< back", "^ act",
                     "x broken", "! warning")
        legend = fit([Text(word, style=self.palette().dim) for word in words], width)
        return [line, labels, legend][: max(1, height)]

    def _line(self, state: RunState, view: View, width: int) -> tuple[Text, Text]:
        colours = self.palette()
        signs = "◇◆★↩✗!▲▸" if view.braille else "o#*<x!^>"
        faces = dict(zip(("snap", "disk", "best", "back", "bad", "warn", "note", "now"), signs, strict=True))
        last = x_limits(state, View())[1]  # moves in jumps, so that the line does not creep
        cells: list[tuple[str, str]] = [("─" if view.braille else "-", colours.ghost)] * width

        def put(step: int, face: str, colour: str) -> None:
            cells[min(width - 1, max(0, round(step / last * (width - 1))))] = (face, colour)

        for point in sorted(state.story.points.values(), key=lambda p: (
                state.lineage.holds(p.branch, p.step), p.on_disk, p.reason == e.BEST)):
            here = state.lineage.holds(point.branch, point.step)
            best = here and point.reason == e.BEST and point.step == state.best_step
            put(point.step, faces["best" if best else "disk" if point.on_disk else "snap"],
                colours.validation if best else colours.dim if not here
                else colours.limit if point.on_disk else colours.train)
        marks = [m for m in state.story.marks if state.lineage.holds(m.branch, m.step)]
        for mark in sorted(marks, key=lambda m: (m.alarming, m.warning)):  # alarms last, so that nothing hides them
            kind = ("bad" if mark.alarming else "warn" if mark.warning
                    else "back" if mark.act == e.RolledBack.__name__ else "note")
            put(mark.step, faces[kind], {"bad": colours.alarm, "warn": colours.validation}.get(kind, colours.dim))
        put(state.step, faces["now"], "bold")
        left, right = "0", f"{short(last)} steps"
        return Text.assemble(*cells), Text(left + right.rjust(width - 1), style=colours.dim)
