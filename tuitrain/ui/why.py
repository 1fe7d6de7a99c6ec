"""The why screen: what is wrong, the evidence with small plots, what to do; in a healthy run what to watch.

Everything on it is folded from events; the words come from the verdict and from the tables here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Label, Static

from tuitrain import troubles
from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.diagnosis.tail import SPIKE, tail_ratio
from tuitrain.protocol.facts import AFTER_CLIPPING
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import BITS, loss_text, loss_words, many, number, percent, plain_ascii, safe
from tuitrain.ui.dialogs import Dialog, Scrolled
from tuitrain.ui.keys import TABLE
from tuitrain.ui.palette import palette_of
from tuitrain.ui.panes.groups import ASCII, BLOCKS, spark
from tuitrain.ui.panes.header import countdown
from tuitrain.ui.view import View

PLOT = 40
HERE = ("remedy", "auto_clip", "rollback", "land", "note", "dismiss", "scale_lr(0.5)", "scale_lr(2.0)", "pause", "undo")
"""Actions whose keys may be named on this screen, and work on it."""
DRILL = ("a drill: the analyst is silent, and you are the one who tells",
         "Sooner or later something goes wrong in this run. Find it in the curves below, name it with m (a note with "
         "the cause), and act: R, r, - and [ are yours. q ends the drill: then you are told what it was and how you "
         "did, and the guard has its turn on the same run.")
MEANING = {
    "loss": ("bits per character that the training text costs; it should fall and then lie flat.",
             "It says that something broke, never why, and only when it is over."),
    "gradient norm": ("how strongly a step pulls, largest of each stretch; the usual size is of no importance.",
                      "Single ones of 20 times the usual size come long before the text breaks."),
    "tail": ("the largest hundredth of the gradients over the median one: 1.3 is usual.",
             "A slow rise says that the recurrence is getting ready to explode: set the clip."),
    "weights": ("the length of the largest layer's weights.",
                "Under a constant learning rate they grow for ever; landing or a lower rate stops that."),
    "radius": ("how many times as large a gradient could grow with each step back through time.",
               "Runs that end well stay below 20; above 30 and growing, single gradients will explode."),
    "update": ("how far a step moves the weights, over their length: a few thousandths are usual.",
               "A jump without larger gradients is a learning rate that is too high."),
    "saturation": ("the share of candidate units at their ends, where they pass no gradient on.",
                   "It rises slowly while learning, and at once when the steps are too large."),
    "worst flow": ("in the worst example, how much larger the gradient is earlier in time than at the end.",
                   "Above 10 it grows on its way back: that is the explosion itself."),
    "gibberish": ("where a sample lies between held-out text (0) and letter soup (1).",
                  "It tells what a low temperature hides; above .5 the language is gone."),
}
MEANING_OF_A_SCRIPT = {
    "loss": ("what the script minimises; it should fall and then lie flat.", MEANING["loss"][1]),
    "gradient norm": (MEANING["gradient norm"][0], "Single ones of 20 times the usual size are an early sign."),
    "tail": ("the largest hundredth of the gradients over the median one.",
             "A slow rise says that single gradients may explode: set the clip."),
}
"""Where it is another thing in a loop that is not tuitrain's own."""


class Why(Dialog[None]):
    """The screen, redrawn once a second from what `state` returns."""

    def __init__(self, state: Callable[[], RunState], view: View) -> None:
        super().__init__()
        self._state, self._view = state, view

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Scrolled(classes="dialog wide"):
            yield Static(id="why")
            yield Label("escape closes; the keys that are named here work here, too", classes="hint")

    def on_mount(self) -> None:
        """Called by Textual."""
        self.refresh_words()
        self.set_interval(1.0, self.refresh_words)

    def refresh_words(self) -> None:
        """Redraw the text."""
        self.query_one("#why", Static).update(self.words(self._state()))

    async def on_key(self, event: Any) -> None:
        """Called by Textual: close on the key that opened the screen; keys that are named here work."""
        action = next((key.action for key in TABLE if event.key in key.keys.split(",") and key.action in HERE), None)
        if event.key in ("w", "q") or action is not None:
            event.stop()
            self.dismiss(None)
        if action is not None:  # run by the app, because a dialog's answer would not reach a closed screen
            self.app.call_later(self.app.run_action, action)

    def words(self, state: RunState) -> RenderableType:
        """Return the whole text."""
        colours = palette_of(self.app.current_theme)
        verdict, own = state.health.verdict, state.unit == BITS
        parts: list[RenderableType] = []
        if verdict is not None:
            style = "bold " + (colours.alarm if verdict.alarming else colours.limit)
            parts.append(Text(f"{_name(verdict.cause, own)}, since step {verdict.onset:,}", style=style))
            parts.append(Text(safe(verdict.sentence)))
            parts += [_item("+", safe(x)) for x in verdict.evidence]
            runner_up = _name(verdict.runner_up, own)
            against = safe(verdict.against)
            rather = f"rather than: {runner_up}" + (f" ({against})" if against else "") if runner_up else against
            if rather:
                parts.append(_item("-", rather, colours.dim))
            if not state.health.broken and verdict.alarming:
                parts.append(Text(f"answered; the run is at step {state.step:,} on branch {state.branch}",
                                  style=colours.limit))
            parts.append(Text.assemble(("what to do  ", "bold"), safe(verdict.remedy)))
        elif state.health.alarm is not None:
            parts.append(Text(safe(state.health.alarm.sentence), style="bold " + colours.alarm))
            parts.append(Text("looking into it …"))
        else:
            parts += self._healthy(state, colours)
        left = countdown(state, self._view)
        if left is not None:
            parts.append(Text(f"the guard rolls back in {left} s; space goes on", style="bold " + colours.alarm))
        parts.append(self._clip(state))
        parts += [_item("!", f"{safe(w.sentence)} (step {w.step:,})", colours.validation)
                  for w in state.health.warnings[-3:]]
        parts.append(Padding(self._plots(state, colours), (1, 0)))
        parts += self._text(state)
        return Group(*parts)

    def _healthy(self, state: RunState, colours: Any) -> list[RenderableType]:
        if len(state.loss) < 100:
            return [Text("too early to say: wait for a few hundred steps", style="bold")]
        growth = state.health.growth()
        tail = tail_ratio(state.grad_norm.last(1000))
        largest = float(np.nanmax(state.grad_norm.last())) / max(state.norm, 1e-12)
        known = [f"loss {loss_words(state.train_loss, state.unit, 2)}",
                 f"largest gradient of the last {len(state.grad_norm):,} steps {number(largest, 2)} medians"]
        usual = "1.3 is usual" if state.unit == BITS else "a slow rise is an early sign"
        watch = f"weights grow {percent(growth)} per 1,000 steps" if growth is not None and growth > 0.001 else \
            f"p99 of the gradient over its median: {number(tail, 2)} ({usual})"
        standing = state.health.standing
        if state.facts.drill:
            return [Text(DRILL[0], style="bold " + colours.validation), Text(DRILL[1]), Text("; ".join(known) + ".")]
        if standing is not None and standing.lapsed:
            heading = (f"an alarm of step {standing.step:,} was never answered (x dismisses it)", colours.validation)
        elif standing is not None:
            first = many(standing.count, "warning") + (" stand" if standing.count > 1 else " stands")
            heading = (f"nothing is broken yet, but it may break: {first} (x dismisses)", colours.validation)
        elif largest > SPIKE:
            heading = ("no alarm, but a gradient stands out", colours.validation)
        else:
            heading = ("nothing is wrong", colours.limit)
        return [Text(heading[0], style="bold " + heading[1]), Text("; ".join(known) + "."),
                Text.assemble(("first thing to watch  ", "bold"), watch)]

    def _clip(self, state: RunState) -> Text:
        if state.facts.norms == AFTER_CLIPPING:
            return Text.assemble(("clip  ", "bold"), "the norms are those after the loop's own clip: they advise none")
        config, clip = state.config, float(state.knobs.get("clip") or 0)
        betas = config.get("betas", (0.9, 0.999))
        advice = advise(state.grad_norm.last(1000), clip, str(config.get("optimizer", "adam")),
                        (float(betas[0]), float(betas[1])))
        automatic = " It is set by itself (a)." if state.knobs.get("clip_auto") else " a lets it follow the norms."
        kept = state.health.advice
        if state.health.broken and kept is not None and kept.sentence:  # the norms since then are not healthy
            return Text.assemble(("clip  ", "bold"), f"{safe(kept.sentence)}; useful from {number(kept.low)} to "
                                 f"{number(kept.high)}")
        if advice is None:
            return Text.assemble(("clip  ", "bold"), "too few steps for advice yet")
        return Text.assemble(("clip  ", "bold"), f"{advice.sentence}; useful from {number(advice.low)} to "
                             f"{number(advice.high)}.{automatic}")

    def _plots(self, state: RunState, colours: Any) -> Text:
        faces, rows = BLOCKS if self._view.braille else ASCII, Text()
        own = state.unit == BITS
        for name, values, now in _curves(state):
            if len(values):
                rows.append(f"{name:<14}", style="bold")
                rows.append(spark(values, values, faces, span=1.5).ljust(PLOT), style=colours.train)
                rows.append(f" {now}\n")
                meaning = MEANING[name] if own else MEANING_OF_A_SCRIPT.get(name, MEANING[name])
                rows.append("\n".join((*meaning, "")), style=colours.dim)
        rows.rstrip()
        return rows

    def _text(self, state: RunState) -> list[RenderableType]:
        box = state.health.black_box
        if box is None:
            return []
        heading = f"read around step {box.onset:,} with the highest loss ({safe(box.path)})"
        rows: list[RenderableType] = [Text(heading, style="bold")]
        for stream in box.streams:
            words = safe(stream.text)
            rows.append(Text(f"  character {stream.offset:,}, {loss_words(stream.loss, state.unit, 1)}: "
                             f"{words if self._view.braille else plain_ascii(words)}", no_wrap=True,
                             overflow="ellipsis"))
        return rows


def _item(sign: str, words: str, style: str = "") -> Table:
    """Return a row of a sign and words, wrapped with an indent."""
    row = Table.grid()
    row.add_column(width=4)
    row.add_column()
    row.add_row(f"  {sign}", Text(words), style=style)
    return row


def _name(cause: str, own: bool) -> str:
    """Return a cause in words; one of a newer version by its own name."""
    return safe(troubles.cause(cause).words_in(own=own).title)


def _curves(state: RunState) -> list[tuple[str, Any, str]]:
    """Return (name, values for a sparkline, newest value in words) of each curve."""
    _, _, high, _, _ = state.grad_norms.buckets()
    _, _, _, losses, _ = state.losses.buckets()
    found = [("loss", _fit(losses), loss_text(state.train_loss, state.unit, 2)),
             ("gradient norm", _fit(high, np.nanmax), f"{number(state.norm)}")]
    norms = state.grad_norm.last()
    tails = np.array([tail_ratio(norms[max(0, i - 500) : i]) for i in range(100, len(norms) + 1, 50)])
    found.append(("tail", tails[-PLOT:], number(float(tails[-1]), 2) if len(tails) else ""))
    for name, key in (("weights", "weights"), ("radius", "radius"), ("update", "update"),
                      ("saturation", "saturation"), ("worst flow", "worst"), ("gibberish", "gibberish")):
        values = np.array([v for _, v in state.health.curves[key]])
        share = key in ("saturation",)
        found.append((name, _fit(values), "" if not len(values) else percent(float(values[-1])) if share else
                      number(float(values[-1]))))
    return found


def _fit(values: Any, pick: Any = np.nanmean) -> Any:
    """Reduce values to at most `PLOT`, each picked from a stretch."""
    values = values[np.isfinite(values)]
    if len(values) <= PLOT:
        return values
    return np.array([pick(part) for part in np.array_split(values, PLOT)])
