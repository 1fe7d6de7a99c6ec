"""The dialog that finds a key by the words of its help. Knows nothing of what the actions do.

Textual's own palette ends the whole application if it is closed while it still searches.
"""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from tuitrain.ui.dialogs import Dialog, Field
from tuitrain.ui.keys import TABLE, Key


def found(words: str) -> list[Key]:
    """Return the keys whose face or help contains every one of the words."""
    wanted = words.lower().split()
    return [key for key in TABLE if all(word in f"{key.face} {key.help}".lower() for word in wanted)]


class Find(Dialog[str]):
    """A line of input above the keys that match; answers an action."""

    BINDINGS: ClassVar = [Binding("down", "move(1)", "next"), Binding("up", "move(-1)", "previous")]

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="dialog wide"):
            yield Label("find a key by its words", classes="title")
            yield Field(id="value")
            yield OptionList(id="found")
            yield Label("enter presses the marked key, ↑ ↓ mark another, escape leaves it", classes="hint")

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one(OptionList).can_focus = False
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Called by Textual."""
        self._list(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self.dismiss(options.get_option_at_index(options.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Called by Textual: an option was clicked."""
        self.dismiss(event.option_id)

    def action_move(self, by: int) -> None:
        """Mark the next or the previous key."""
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def _list(self, words: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(Text.assemble((key.face.ljust(3), "bold"), key.help), id=key.action)
                            for key in found(words))
        options.highlighted = 0 if options.option_count else None
