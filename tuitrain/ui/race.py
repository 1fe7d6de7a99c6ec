"""Futures on the screen: the dialog that proposes arms and says what they cost, and the table of a race, live.

Both are folded from events; they return what was chosen and send nothing, but for cutting and cancelling.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.coordinate import Coordinate
from textual.strip import Strip
from textual.widgets import DataTable, Input, Label, SelectionList, Static
from textual.widgets.selection_list import Selection

from tuitrain.diagnosis import arms
from tuitrain.diagnosis.arms import AS_IT_IS, Arm
from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.errors import TuitrainError
from tuitrain.knobs import Knobs
from tuitrain.telemetry.contest import Contest, Runner
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.series import Array
from tuitrain.telemetry.units import duration, loss_text, many, number, percent, printable, size
from tuitrain.ui.dialogs import Dialog, Field
from tuitrain.ui.link import Link
from tuitrain.ui.panes.groups import ASCII, BLOCKS, spark

STEPS = 600
OPENING = 4.0
"""Seconds in which the process of an arm loads and reads, about."""
LOOKED_BACK = 1000
"""Norms that the advice on a clip is drawn from."""
STEP_BYTES = 700
"""Bytes that an arm writes for each step, about."""
PERIOD = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A race that a person wants."""

    arms: tuple[str, ...]
    steps: int
    shares: bool


def knobs_now(state: RunState) -> Knobs:
    """The knobs in force, as far as arms turn them."""
    told = state.knobs
    return Knobs(lr=float(told.get("lr") or 0), clip=float(told.get("clip") or 0), temperature=(1.0,), prompt="",
                 steps=int(told.get("steps") or 0), clip_auto=bool(told.get("clip_auto")))


def proposed(state: RunState) -> list[Arm]:
    """The arms worth a try now, without the run as it is."""
    betas = state.config.get("betas", (0.9, 0.999))
    advice = None if state.config.get("clip_kind") == "element" else advise(
        state.grad_norm.last(LOOKED_BACK), float(state.knobs.get("clip") or 0),
        str(state.config.get("optimizer", "adam")), (float(betas[0]), float(betas[1])))
    return arms.proposed(advice, knobs_now(state))[1:]


def written(arm: Arm) -> str:
    """An arm as the command has it."""
    return " ".join(f"{name}={text}" for name, text in (("lr", arm.lr), ("clip", arm.clip)) if text)


class Boxes(SelectionList[str]):
    """Choices with a box each that shows without colours if it is ticked."""

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        _, inner, _, *words = super().render_line(y)
        ticked = self.get_option_at_index(self.scroll_offset.y + y).value in self.selected
        return Strip([Segment("[", inner.style), Segment("x" if ticked else " ", inner.style),
                      Segment("]", inner.style), *words])


class AskRace(Dialog[Wanted]):
    """Which arms, how long; what that costs is said as it is chosen."""

    BINDINGS: ClassVar = [Binding("enter", "begin", "begin", priority=True)]

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self._state, self._arms = state, proposed(state)

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog"):
            yield Label(f"futures from step {self._state.step:,}: the same batches under other knobs", classes="title")
            yield Label(f" as a comparison: {AS_IT_IS}", classes="hint")
            yield Boxes(
                *(Selection(Text(arm.name), written(arm), True) for arm in self._arms),
                Selection(Text("training goes on meanwhile, and both go slower"), "", False))
            with Horizontal(classes="row"):
                yield Label("steps ")
                yield Field(str(STEPS), id="steps", select_on_focus=True)
                yield Label("another arm ")
                yield Field("", id="another", placeholder="lr=x2 clip=1")
            yield Static("", id="preview", markup=False)
            yield Label("enter begins · space: in, out · tab: steps · escape leaves", classes="hint")

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one(SelectionList).focus()
        self._preview()

    def on_selection_list_selected_changed(self) -> None:
        """Called by Textual."""
        self._preview()

    def on_input_changed(self) -> None:
        """Called by Textual."""
        self._preview()

    def _read(self) -> tuple[Wanted | None, str]:
        """What is wanted, or None and why not."""
        chosen: Sequence[str] = self.query_one(SelectionList).selected
        shares = "" in chosen
        steps, another = (self.query_one(f"#{name}", Input).value.strip() for name in ("steps", "another"))
        if not steps.isdigit() or not 1 <= int(steps) <= 10**9:
            return None, "steps: a whole number above 0"
        texts = [text for text in chosen if text]
        try:
            lined = arms.lined_up([arms.parse(text) for text in [*texts, *([another] if another else [])]],
                                  knobs_now(self._state))
        except TuitrainError as error:
            return None, str(error)
        if len(lined) < 2:
            return None, "no arm is chosen"
        return Wanted(tuple(map(written, lined[1:])), int(steps), shares), ""

    def _preview(self) -> None:
        wanted, why = self._read()
        self.show_preview(why if wanted is None else cost(self._state, wanted), refused=wanted is None)

    def action_begin(self) -> None:
        """Begin, if everything can be read."""
        wanted, _ = self._read()
        if wanted is not None:
            self.dismiss(wanted)


def cost(state: RunState, wanted: Wanted) -> str:
    """What a race takes, in words: steps, time, disk, and what it means for the training."""
    count = len(wanted.arms) + 1
    last = int(state.knobs.get("steps") or 0)
    steps = min(wanted.steps, last - state.step) if last else wanted.steps
    if steps <= 0:
        return "this is the last step of the run: a race goes no further than the run; `steps` sets a later end"
    speed = state.steps_per_second
    seconds = count * (OPENING + (1.15 * steps / speed if speed else math.nan))
    took = f", about {duration(seconds)}" if math.isfinite(seconds) else ""
    saved = state.story.last_saved
    disk = f", {size(count * (saved.bytes + steps * STEP_BYTES))} on disk" if saved is not None else ""
    stands = ("training goes on meanwhile; that takes twice as long or more" if wanted.shares
              else "training stands meanwhile; space lets it go on")
    return f"{count} arms of {steps:,} steps: {count * steps:,} steps{took}{disk}\n{stands}"


class RaceTable(Dialog[tuple[str, str]]):
    """The race that `race` returns (None until it begins), as it grows.

    Answers `choose` with the folder of an arm, or `anew`.
    """

    BINDINGS: ClassVar = [
        Binding("c", "cut", "cut"), Binding("x", "cancel_race", "cancel"), Binding("n", "anew", "a new race"),
        Binding("f,q", "close", "close")]

    def __init__(self, race: Callable[[], Contest | None], link: Link, cut: Callable[[int], None],
                 cancel: Callable[[], None]) -> None:
        super().__init__()
        self._race, self._link, self._cut, self._cancel = race, link, cut, cancel
        self._columns: list[str] = []
        self._said = ""

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog full"):
            yield Label("", id="title", classes="title", markup=False)
            yield DataTable(cursor_type="row", zebra_stripes=False)
            yield Static("", id="preview", markup=False)
            yield Label("", id="hint", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Called by Textual."""
        table = self.query_one(DataTable)
        self._columns = columns(self.app.size.width)
        for column in self._columns:
            table.add_column(column, key=column)
        table.focus()
        self.redraw()
        self.set_interval(PERIOD, self.redraw)

    def redraw(self) -> None:
        """Draw the race as it is now."""
        race, table = self._race(), self.query_one(DataTable)
        if race is None:
            self.query_one("#title", Label).update("the race begins …")
            self.show_preview(self._link.view.refused, refused=True)
            return
        if table.row_count != len(race.runners):
            table.clear()
            for i in range(len(race.runners)):
                table.add_row(*[""] * len(self._columns), key=str(i))
        for i, runner in enumerate(race.runners):
            cells = self._cells(race, i, runner)
            for j, column in enumerate(self._columns):
                table.update_cell_at(Coordinate(i, j), cells[column], update_width=True)
        self.query_one("#title", Label).update(self._title(race))
        self.show_preview("\n".join(map(printable, self._words(race))))
        self.query_one("#hint", Label).update(
            "enter goes on with the arm · n a new race · escape closes" if race.ended else
            "c cuts the arm · x cancels the race · escape closes, it goes on; f comes back")

    def _cells(self, race: Contest, i: int, runner: Runner) -> dict[str, Text]:
        unit, told = self._link.state.unit, runner.newest
        face = "★ " if self._link.view.braille else "* "
        best = race.recommended == i + 1
        cells = {"arm": Text((face if best else "  ") + runner.name, style="bold" if best else ""),
                 "steps": Text(runner.state or f"{percent(runner.done / max(1, race.began.steps))}"
                               if runner.done or runner.state else "ended" if race.ended else "waits")}
        if told is None:
            return cells | {name: Text("-") for name in COLUMNS if name not in cells}
        _, _, _, means, _ = runner.curve.buckets()
        faces = BLOCKS if self._link.view.braille else ASCII
        cells |= {
            "loss": Text(_apart(told.difference, told.error, unit.scale)),
            "val": Text(loss_text(told.validation, unit) if math.isfinite(told.validation) else "-"),
            "val, to it": Text(_apart(told.validation_difference, told.validation_error, unit.scale)),
            "tail": Text(_or_none(told.tail)), "largest": Text(_or_none(told.largest)),
            "clipped": Text(percent(told.clipped) if math.isfinite(told.clipped) else "-"),
            "weights": Text(f"{100 * told.growth:+.1f} %" if math.isfinite(told.growth) else "-"),
            "radius": Text(f"{_or_none(told.radius_before)}→{_or_none(told.radius)}"),
            "curve": Text(spark(_thinned(means), np.array(means), faces, span=1.2)),
            "signs": Text("yes" if told.signs else "none", style="bold" if told.signs else ""),
        }
        return cells

    def _title(self, race: Contest) -> str:
        began = race.began
        state = race.ended or f"{percent(race.share)} done"
        return f"race from step {began.step:,}, {many(began.steps, 'step')} an arm, to «{AS_IT_IS}»: {state}"

    def _words(self, race: Contest) -> list[str]:
        """What was seen, then the signs and the sample of the arm under the cursor."""
        runner = race.runners[self._row]
        lines = [*filter(None, (self._said, self._link.view.refused)), *race.sentences]
        if runner.newest is not None:
            lines += [f"{runner.name}: {sign}" for sign in runner.newest.signs if not race.sentences]
            if runner.newest.sample:
                lines.append(f"{runner.name}: “{runner.newest.sample[:3 * self.app.size.width // 2]}”")
        if race.chosen:
            lines.append(f"chosen: {race.chosen}")
        return lines

    @property
    def _row(self) -> int:
        race = self._race()
        return max(0, min(self.query_one(DataTable).cursor_row, len(race.runners) - 1 if race is not None else 0))

    def on_data_table_row_highlighted(self) -> None:
        """Called by Textual."""
        self._said = ""
        self.redraw()

    def _say(self, words: str) -> None:
        """Say why a key does nothing, until the cursor moves."""
        self._said = words
        self.redraw()

    def on_data_table_row_selected(self) -> None:
        """Called by Textual: go on with the arm, if there is an end to go on from."""
        race = self._race()
        told = race.runners[self._row].newest if race is not None else None
        if race is None or not race.ended:
            self._say("the race goes on: an arm can be chosen when it has ended, or x cancels the others")
        elif told is None or told.state not in ("whole", "cut"):
            self._say("this arm has no end to go on from")
        else:
            self.dismiss(("choose", told.folder))

    def action_cut(self) -> None:
        """Cut the arm under the cursor."""
        self._cut(self._row + 1)

    def action_cancel_race(self) -> None:
        """Cancel the race."""
        self._cancel()

    def action_anew(self) -> None:
        """Ask for a new race."""
        self.dismiss(("anew", ""))


COLUMNS = ("arm", "steps", "loss", "val", "val, to it", "radius", "signs", "tail", "largest", "clipped", "weights",
           "curve")
"""The columns of the table, in the order in which a narrow terminal gets them."""
NARROW, MIDDLE, CURVE = 7, 10, 24


def columns(width: int) -> list[str]:
    """The columns that a terminal has room for."""
    return list(COLUMNS if width >= 130 else COLUMNS[:MIDDLE] if width >= 110 else COLUMNS[:NARROW])


def _apart(value: float, error: float, scale: float) -> str:
    return f"{value * scale:+.3f} ± {error * scale:.3f}" if math.isfinite(value) else "-"


def _or_none(value: float) -> str:
    return number(value, 2) if not math.isnan(value) else "-"


def _thinned(values: Array) -> Array:
    """At most CURVE of the values, evenly."""
    return values[np.linspace(0, len(values) - 1, min(CURVE, len(values))).astype(int)] if len(values) else values
