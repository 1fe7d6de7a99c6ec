"""Dialogs over the panes: a value, a choice, a restore point, help. Escape closes; training goes on meanwhile.

They return what was chosen, or None; they send nothing themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from tuitrain.knobs import Wish
from tuitrain.protocol.capabilities import Capabilities, LossUnit
from tuitrain.telemetry import glossary
from tuitrain.telemetry.lineage import Lineage
from tuitrain.telemetry.story import Point
from tuitrain.telemetry.units import BITS, many, printable
from tuitrain.telemetry.validation import Validation
from tuitrain.ui import restore_rows
from tuitrain.ui.keys import PANES, TABLE
from tuitrain.ui.values import read, shown, wild

Preview = Callable[[str], tuple[bool, str]]
"""Maps the typed text to (whether it may be sent, a description of its effect)."""
Answer = TypeVar("Answer")
KNOBS = ("lr", "clip")
"""The knobs that a rollback may set, each with its own field."""
EDITING = {"backspace": "delete_left", "delete": "delete_right", "left": "cursor_left", "right": "cursor_right",
           "home": "home", "end": "end"}


class Field(Input):
    """An Input that keeps the order of quickly typed keys.

    Textual passes editing keys through the queues of all parents, but handles letters at once: on a busy screen a
    backspace was applied after letters that were typed later.
    """

    async def _on_key(self, event: Key) -> None:
        action = EDITING.get(event.key)
        if action is None:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        getattr(self, f"action_{action}")()


class Dialog(ModalScreen[Answer | None]):
    """The base of dialogs: escape closes without an answer."""

    BINDINGS: ClassVar = [Binding("escape", "close", "close"), Binding("ctrl+c", "close", "close", priority=True)]

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Answer and close, once and only on top.

        On a busy machine a second enter is on its way before the first has closed the dialog. Textual would then close
        whatever screen is on top by that time.
        """
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()

    def action_close(self) -> None:
        """Close without an answer."""
        self.dismiss(None)

    def show_preview(self, words: str, refused: bool = False) -> None:
        """Show the effect of what is typed or chosen; in the colour of an error if it cannot be accepted."""
        preview = self.query_one("#preview", Static)
        preview.set_class(refused, "refused")
        preview.update(words)


class Scrolled(VerticalScroll):
    """Text that may be longer than the dialog; the border says so, as a scrollbar without colours is not seen."""

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Called by Textual."""
        super().watch_scroll_y(old_value, new_value)
        self._count()

    def watch_virtual_size(self) -> None:
        """Called by Textual: the text or the width has changed."""
        self._count()

    def on_resize(self) -> None:
        """Called by Textual."""
        self._count()

    def _count(self) -> None:
        below = self.max_scroll_y - round(self.scroll_target_y)
        self.border_subtitle = f"↓ {many(below, 'more line')}" if below > 0 else ""


class AskValue(Dialog[str]):
    """A line of input with a live preview; `doubt` returns a question that has to be confirmed by another enter."""

    def __init__(self, title: str, value: str, preview: Preview, *, doubt: Callable[[str], str] = lambda text: "",
                 classes: str = "") -> None:
        super().__init__(classes=classes)
        self._title, self._value, self._preview, self._doubt = title, value, preview, doubt
        self._doubted = False

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog"):
            yield Label(printable(self._title), classes="title", markup=False)
            yield Field(self._value, id="value", select_on_focus=True)
            yield Static(self._preview(self._value)[1], id="preview", markup=False)
            yield Label("enter keeps it, escape leaves it", classes="hint")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Called by Textual."""
        self._doubted = False
        good, words = self._preview(event.value)
        self.show_preview(words, refused=not good)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        if not self._preview(event.value)[0]:
            return
        question = "" if self._doubted else self._doubt(event.value)
        self._doubted = bool(question)
        if question:
            self.show_preview(question, refused=True)
        else:
            self.dismiss(event.value)


class Choose(Dialog[str]):
    """A list of choices, of which the first is the safe one."""

    def __init__(self, title: str, choices: list[tuple[str, str]]) -> None:
        super().__init__()
        self._title, self._choices = title, choices

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog"):
            yield Label(printable(self._title), classes="title", markup=False)
            yield OptionList(*(Option(Text(printable(words)), id=name) for name, words in self._choices))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Called by Textual."""
        self.dismiss(event.option_id)


class Confirm(Dialog[bool]):
    """Describes what would happen; enter accepts."""

    BINDINGS: ClassVar = [Binding("enter", "accept", "do it")]

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog"):
            yield Label(printable(self._title), classes="title", markup=False)
            yield Static("\n".join(map(printable, self._lines)), markup=False, id="preview")
            yield Label("enter does it, escape leaves it", classes="hint")

    def action_accept(self) -> None:
        """Accept."""
        self.dismiss(True)


Chosen = tuple[str, Wish | None, Wish | None]
"""(name of the point, empty for the last good one; lr; clip); None leaves a knob unchanged."""


@dataclass(frozen=True, slots=True)
class Present:
    """The present of a run, which a rollback leaves behind, and its knobs, which stay unless another value is typed."""

    step: int
    time: float
    lr: float
    clip: float
    clip_auto: bool = False
    unit: LossUnit = BITS
    lineage: Lineage = field(default_factory=Lineage)
    validation: Validation = field(default_factory=Validation)

    def leaving(self, point: Point) -> str:
        """Describe which steps a rollback to a point leaves behind and which it returns to."""
        here = (self.lineage.branch, self.step)
        shared = self.lineage.shared(here, (point.branch, point.step))
        returned = point.step - shared
        if shared >= self.step:
            again = f"returns to {many(returned, 'step')} of branch {point.branch}, " if returned > 0 else ""
            return f"{again}leaves no step behind"
        left = f"{many(self.step - shared, 'step')} of {self._of(shared)}"
        if returned > 0:
            return f"leaves {left}, returns to {many(returned, 'step')} of branch {point.branch}; undo comes back"
        return f"leaves {left} as a ghost; undo returns to them"

    def _of(self, shared: int) -> str:
        """Name the branches of the steps after a shared one."""
        branches = [s.branch for s in self.lineage.path((self.lineage.branch, self.step)) if s.last > shared]
        return f"branch {branches[0]}" if len(branches) == 1 else f"branches {branches[0]} to {branches[-1]}"

    def field(self, name: str) -> str:
        """Return the value of a knob in force as it would be typed."""
        return shown(name, self.lr if name == "lr" else self.clip, name == "clip" and self.clip_auto)


class PickPoint(Dialog[Chosen]):
    """A choice of a restore point, with lr and clip to continue with.

    `proposed` are the values of a remedy by knob, `at` is the name of its point.
    """

    def __init__(self, points: list[Point], present: Present, proposed: Mapping[str, str], at: str = "") -> None:
        super().__init__()
        self._points = sorted(points, key=lambda p: (p.step, p.branch, not p.on_disk), reverse=True)
        self._present, self._proposed, self._at = present, proposed, at
        self._doubted = False

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog wide"):
            yield Label("roll back to", classes="title")
            yield DataTable(cursor_type="row", zebra_stripes=False)
            yield Static("", id="preview", markup=False)
            with Horizontal(classes="row"):
                for name in KNOBS:
                    yield Label(f"{name} ")
                    yield Field(self._proposed.get(name, self._present.field(name)), id=name, select_on_focus=True)
            yield Label("enter rolls back · tab to lr and clip · escape leaves it", classes="hint")

    def on_mount(self) -> None:
        """Called by Textual."""
        table = self.query_one(DataTable)
        present = self._present
        heads, rows = restore_rows.table(self._points, present.validation, present.lineage, present.unit, present.time)
        table.add_columns(*heads)
        table.add_row("last good", *[""] * (len(heads) - 2), "the newest", key="")
        for name, cells in rows:
            table.add_row(*cells[:-1], Text(cells[-1]), key=name)
        if any(p.name == self._at for p in self._points):
            table.move_cursor(row=table.get_row_index(self._at))
        table.focus()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Called by Textual: update the preview."""
        self._update_preview()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Called by Textual: update the preview."""
        self._update_preview()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Called by Textual."""
        self._answer()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        self._answer()

    def _point(self) -> Point | None:
        table = self.query_one(DataTable)
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return next((p for p in self._points if p.name == key), None)

    def _update_preview(self) -> None:
        self._doubted = False
        point, present = self._point(), self._present
        words = "the engine chooses; undo returns to where you were"
        if point is not None:
            words = present.leaving(point)
        _, turns, refused = self._read(point)
        self.show_preview("\n".join(refused or [words, turns]), refused=bool(refused))

    def _read(self, point: Point | None) -> tuple[list[Wish | None], str, list[str]]:
        """Return the wishes of the two fields (None: unchanged), their effect in words, and the errors."""
        present = self._present
        asked: list[Wish | None] = []
        turns: list[str] = []
        refused: list[str] = []
        for name in KNOBS:
            text = self.query_one(f"#{name}", Input).value.strip()
            now = present.lr if name == "lr" else present.clip
            if text in ("", present.field(name)):
                asked.append(None)
                turns.append(f"{name} stays {present.field(name)}")
                continue
            base = min(now, point.lr) if name == "lr" and point is not None else now
            meant, value, why = read(name, text, base)
            asked.append(meant)
            if meant is None:
                refused.append(why)
                continue
            after = value if isinstance(value, str) else shown(name, float(value))  # type: ignore[arg-type]
            unsure = name == "lr" and point is None and meant.factor is not None
            turns.append(f"{name} {present.field(name)} → {'at most ' if unsure else ''}{after}"
                         + (" (of the smaller of the present rate and the point's)" if unsure else ""))
        return asked, " · ".join(turns), refused

    def _answer(self) -> None:
        point = self._point()
        asked, _, refused = self._read(point)
        if refused:
            self.show_preview("\n".join(refused), refused=True)
            return
        lr, clip = asked
        if lr is not None and not self._doubted:
            base = self._present.lr if point is None else min(self._present.lr, point.lr)
            question = wild(lr.of("lr", base), self._present.lr)
            if question:
                self._doubted = True
                self.show_preview(f"lr {question}", refused=True)
                return
        self.dismiss((point.name if point else "", lr, clip))


class Help(Dialog[None]):
    """The help: panes, keys and words, for a run of these capabilities."""

    def __init__(self, offers: Capabilities, dim: str) -> None:
        super().__init__()
        self._offers, self._dim = offers, dim

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        table = Table.grid(padding=(0, 2))
        for key in TABLE:
            why = key.why_not(self._offers)
            table.add_row(Text(key.face, style=self._dim if why else "bold"),
                          Text(f"not here: {why}", style=self._dim) if why else Text(key.help))
        own = self._offers.loss == BITS
        panes, words = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
        for digit, name in PANES.items():
            panes.add_row(Text(f"{digit} {name}", style="bold", no_wrap=True), Text(glossary.panes(own)[name]))
        for word, meaning in glossary.words(own).items():
            words.add_row(Text(word, style="bold", no_wrap=True), Text(meaning))
        with Scrolled(classes="dialog wide"):
            yield Label("panes", classes="title")
            yield Static(panes)
            yield Label("\nkeys", classes="title")
            yield Static(table)
            yield Label("\nwords", classes="title")
            yield Static(words)
            yield Label("tab goes to the next pane, 1 to 9 to that one", classes="hint", markup=False)
            yield Label("escape closes · ctrl+p finds every action by name", classes="hint")

    def on_key(self, event: Any) -> None:
        """Called by Textual: the key that opened it closes it."""
        if event.key in ("question_mark", "q"):
            event.stop()
            self.dismiss(None)
