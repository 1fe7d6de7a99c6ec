"""The header (run, model, status), the progress line, and the numbers for tiny terminals."""

import math

from rich.text import Text

from tuitrain.protocol import askers
from tuitrain.specs import cell
from tuitrain.telemetry.health import Health
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import on_the_way
from tuitrain.telemetry.units import duration, interval, loss_text, many, number, percent, rate, safe, size
from tuitrain.ui.picture import Picture
from tuitrain.ui.view import View

GAP = 2
LOADING = "torch, text and model are being loaded"
DRILL = "DRILL: m names the fault, q ends it"
LEAST_NAME = 12
"""Cells of the run's name that must remain beside the full wording of a warning."""


def fit(parts: list[Text], width: int, gap: str = "  ") -> Text:
    """Return a line of the parts that fit, whole ones only, the most important first."""
    line = Text()
    for part in parts:
        if part.cell_len and line.cell_len + len(gap) * bool(line.cell_len) + part.cell_len <= width:
            line = line + Text(gap if line.cell_len else "") + part
    return line


class HeaderPane(Picture):
    """Name, status and problems of the run."""

    can_focus = False

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one line."""
        c = state.config
        status, warnings = self._status(state, view), self._warnings(state.health, view)
        room = width - status.cell_len - 2 * GAP
        warning = next((w for w in warnings if w.cell_len + LEAST_NAME <= room), warnings[-1])
        name = Text(safe(view.run), style="bold")
        room -= warning.cell_len
        if name.cell_len > room > 1:  # shorten the name from the left to keep the status
            name = Text("…" + name.plain[1 - room:], style="bold")
        parts = [name, status, warning]
        if state.work is not None and view.connection == "live":
            words = on_the_way(state.work.what, state.work.done, state.work.of)
            parts.append(Text(words, style=self.palette().limit))
        elif waiting := [what for what, _ in view.asked.values() if what not in state.knobs]:
            # A step of a slow model takes seconds, and commands are heard between steps.
            parts.append(Text(f"{waiting[-1]} asked …", style="italic " + self.palette().limit))
        if state.facts.drill and view.connection == "live" and state.status != "ended":
            parts.append(Text(DRILL, style="bold " + self.palette().validation))
        if view.remark and view.connection != "starting":
            parts.append(Text(safe(view.remark), style=self.palette().alarm))
        if state.trouble:
            parts.append(Text(f"SAVING FAILS: {safe(state.trouble)}", style=self.palette().alarm))
        if c:
            parts += [Text(f"step {state.step:,}"),
                      Text(f"{_model(state)} · {c['optimizer']} · {' '.join(state.computes)}"),
                      Text(f"branch {state.branch}"), Text(f"guard: {state.guard}"),
                      Text(f"saved every {interval(c['checkpoint_every'])}" if "checkpoint_every" in c else ""),
                      Text(f"{size(state.used.memory)}, {state.workforce}") if state.used else Text(),
                      Text(f"{state.clients} watching") if state.clients > 1 else Text()]
        return [fit(parts, width)]

    def _status(self, state: RunState, view: View) -> Text:
        status = self._condition(state, view)
        if view.connection == "read-only":
            status.append(", read-only" + (f" from {safe(view.host)}" if view.host else ""))
        return status

    def _condition(self, state: RunState, view: View) -> Text:
        colours = self.palette()
        if view.connection == "gone" and state.status != "ended":
            return Text("✗ engine gone", style=colours.alarm)
        if view.connection == "starting":
            return Text(f"… starting: {safe(view.remark) or LOADING}", style=colours.limit)
        if view.connection == "replay":
            return Text(f"{'▶' if view.braille else '>'} replay {view.tape}", style=colours.limit)
        faces = {"running": ("●", colours.limit), "paused": ("‖", colours.validation), "ended": ("■", colours.dim)}
        left = countdown(state, view)
        if left is not None:
            goes_on = ", space goes on" if view.connection == "live" else ""
            words = f"‖ ALARM: w says why; rolls back in {left} s{goes_on}"
            return Text(words, style="bold " + colours.alarm)
        if state.health.broken and state.status == "running":
            return Text("● running, ALARM: w says why", style="bold " + colours.alarm)
        if state.status == "paused" and state.paused_by == askers.RACE and state.race is not None:
            return Text(f"‖ race {percent(state.race.share)}: f shows it", style=colours.validation)
        if state.status == "paused" and state.paused_by not in ("", askers.PERSON):
            return Text(f"‖ paused by {safe(state.paused_by)}", style=colours.alarm)
        face, colour = faces.get(state.status, ("…", colours.dim))
        words = state.status if state.status != "ended" else f"ended: {state.ended}"
        return Text(f"{face} {words}", style=colour)

    def _warnings(self, health: Health, view: View) -> list[Text]:
        """Return the standing warnings, from the longest wording to the shortest."""
        standing = health.standing
        if standing is None or health.broken or view.connection not in ("live", "read-only", "replay"):
            return [Text()]
        first = f"{many(standing.count, 'warning')}, newest" if standing.count > 1 else "warning"
        first = "ALARM without an answer" if standing.lapsed else first
        keys = "w why, x dismiss" if view.connection == "live" else "w why"
        style = "bold " + self.palette().validation
        return [Text(words, style=style) for words in (
            f"! {first} at {standing.step:,}: {keys}", f"! {first} at {standing.step:,}: w", f"! {standing.step:,}: w")]


def _model(state: RunState) -> str:
    """Describe the model in a few words."""
    rows = dict(state.facts.description)
    if "model" in rows:
        return safe(rows["model"])
    return f"{state.config['layers']}x{state.config['hidden']} {safe(cell(state.config).title)}"


def countdown(state: RunState, view: View) -> int | None:
    """Return the whole seconds until the guard acts; None if it is not waiting for a person."""
    if state.status != "paused" or not state.health.waiting_since or not state.health.broken:
        return None
    return math.ceil(max(0.0, view.guard_waits))


class ProgressPane(Picture):
    """Epoch or steps, a bar, speed, time elapsed and left."""

    period = 1.0
    can_focus = False

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return one line."""
        last, ends = state.last_step, not math.isnan(state.done)
        done = state.done if ends else state.epoch % 1
        what = f"step {state.step:,} of {last:,}" if last else f"epoch {state.epoch:.2f}"
        speed = rate(state.characters_per_second)
        if state.config and not state.config.get("bptt"):
            speed = f"{number(state.steps_per_second)} steps/s"
            what = what if last or state.epoch else f"step {state.step:,}"
        elif ends and not last:
            what = f"step {state.step:,}, epoch {state.epoch:.2f}"
        right = f"{speed}  {duration(state.trained_seconds)} gone"
        if ends:
            right += f"  {duration(state.seconds_left)} left"
        room = width - len(what) - len(right) - 6
        bar = Text()
        if room >= 8:
            full = round(min(1.0, done) * room)
            bar.append(("━" if view.braille else "=") * full, style=self.palette().limit)
            bar.append(("─" if view.braille else "-") * (room - full), style=self.palette().ghost)
        return [fit([Text(what), bar, Text(right)], width)]


class FactsPane(Picture):
    """For terminals too small for plots: one line of numbers per fact."""

    can_focus = False

    def lines(self, state: RunState, view: View, width: int, height: int) -> list[Text]:
        """Return the numbers, and a hint how to see more."""
        unit = state.unit
        val = f", val {loss_text(state.val_loss, unit)}" if state.val_loss is not None else ""
        rows = [f"{state.status} step {state.step:,}",
                f"loss {loss_text(state.train_loss, unit)}{val} {unit.short}".rstrip(),
                f"norm {number(state.norm)} clip {number(float(state.knobs.get('clip') or 0))}",
                f"lr {number(state.lr_in_force)}", rate(state.read_per_second),
                "make me larger for plots"]
        return [Text(row) for row in rows[:height]]
