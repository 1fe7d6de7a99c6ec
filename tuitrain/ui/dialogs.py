"""Small questions over the panes: a value, a choice, a restore point, help. Escape closes; training goes on behind.

They return what was chosen, or None; they send nothing themselves.
"""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from tuitrain.telemetry import glossary
from tuitrain.telemetry.story import Point
from tuitrain.telemetry.units import bpc, duration, number, printable
from tuitrain.ui.keys import PANES, TABLE

Preview = Callable[[str], tuple[bool, str]]
"""What is typed -> (may it be sent, a word on what it would do)."""
Answer = TypeVar("Answer")
EDITING = {"backspace": "delete_left", "delete": "delete_right", "left": "cursor_left", "right": "cursor_right",
           "home": "home", "end": "end"}


class Field(Input):
    """An Input in which a burst of keys keeps its order.

    Textual lets editing keys travel through the queues of all parents while letters are taken at once: on a busy screen
    a backspace came after the letters typed behind it.
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
    """Escape closes without an answer."""

    BINDINGS: ClassVar = [Binding("escape", "close", "close"), Binding("ctrl+c", "close", "close", priority=True)]

    def action_close(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)


class AskValue(Dialog[str]):
    """One line of input with a live preview below it."""

    def __init__(self, title: str, value: str, preview: Preview) -> None:
        super().__init__()
        self._title, self._value, self._preview = title, value, preview

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog"):
            yield Label(printable(self._title), classes="title", markup=False)
            yield Field(self._value, id="value", select_on_focus=True)
            yield Static(self._preview(self._value)[1], id="preview", markup=False)
            yield Label("enter asks the engine, escape leaves it", classes="hint")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Called by Textual."""
        self.query_one("#preview", Static).update(self._preview(event.value)[1])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        if self._preview(event.value)[0]:
            self.dismiss(event.value)


class Choose(Dialog[str]):
    """A few choices; the first is the safe one."""

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


class PickPoint(Dialog[tuple[str, str, str]]):
    """A restore point, and with which lr and clip to go on: (point or empty for the last good one, lr, clip)."""

    def __init__(self, points: list[Point], step: int, now: float, lr: float, clip: float) -> None:
        super().__init__()
        self._points = sorted(points, key=lambda p: (p.step, p.branch, not p.on_disk), reverse=True)
        self._step, self._now, self._lr, self._clip = step, now, lr, clip

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog wide"):
            yield Label("roll back to", classes="title")
            yield DataTable(cursor_type="row", zebra_stripes=False)
            yield Static("", id="preview", markup=False)
            with Horizontal(classes="row"):
                yield Label("lr ")
                yield Field(number(self._lr, 4), id="lr", type="number")
                yield Label("  clip ")
                yield Field(number(self._clip, 4), id="clip", type="number")
            yield Label("enter rolls back · tab to lr and clip · escape leaves it", classes="hint")

    def on_mount(self) -> None:
        """Called by Textual."""
        table = self.query_one(DataTable)
        for column in ("step", "branch", "age", "train", "val", "lr", "clip", "where", "why kept"):
            table.add_column(column)
        table.add_row("last good", "", "", "", "", "", "", "", "newest good", key="")
        for p in self._points:
            val = "-" if p.val is None else f"{bpc(p.val):.3f}"
            age = duration(self._now - p.time) if p.time else "-"
            table.add_row(f"{p.step:,}", str(p.branch), age, f"{bpc(p.train):.3f}", val, number(p.lr),
                          number(p.clip) if p.clip else "off", "disk" if p.on_disk else "memory",
                          Text(printable(p.reason)), key=p.name)
        table.focus()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Called by Textual: say what would be lost."""
        point = next((p for p in self._points if p.name == event.row_key.value), None)
        words = "the engine chooses; undo returns to where you were"
        if point is not None:
            words = f"{self._step - point.step:,} steps since then are left as a ghost; undo returns to them"
        self.query_one("#preview", Static).update(words)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Called by Textual."""
        self._answer(str(event.row_key.value or ""))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        table = self.query_one(DataTable)
        self._answer(str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value or ""))

    def _answer(self, point: str) -> None:
        lr, clip = (self.query_one(f"#{name}", Input).value for name in ("lr", "clip"))
        self.dismiss((point, lr if lr != number(self._lr, 4) else "", clip if clip != number(self._clip, 4) else ""))


class Help(Dialog[None]):
    """The table of keys and what each pane shows."""

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        table = Table.grid(padding=(0, 2))
        for key in TABLE:
            table.add_row(Text(key.face, style="bold"), Text(key.help))
        panes, words = Table.grid(padding=(0, 2)), Table.grid(padding=(0, 2))
        for i, name in enumerate(PANES, 1):
            panes.add_row(Text(f"{i} {name}", style="bold", no_wrap=True), Text(glossary.PANES[name]))
        for word, meaning in glossary.WORDS.items():
            words.add_row(Text(word, style="bold", no_wrap=True), Text(meaning))
        with VerticalScroll(classes="dialog wide"):
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
