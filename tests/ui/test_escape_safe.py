"""Every string of every event filled with what a terminal obeys: no row of a pane holds any of it."""

import dataclasses
import unicodedata
from typing import get_type_hints

import pytest
from rich.text import Text

from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import sentence
from tuitrain.telemetry.units import plain_output
from tuitrain.ui.picture import _strip

EVIL = "\x1b[2Jx\x1b]0;t\x07\x9b31m\r\x7f\u202e\u2066"


def obeyed(text: str) -> list[str]:
    return [c for c in text if (unicodedata.category(c) == "Cc" and c != "\n") or c in "\u202e\u2066"]


@pytest.mark.parametrize("kind", [
    name for name, cls in sorted(codec.registry(e.Event).items())
    if str in get_type_hints(cls).values() and set(get_type_hints(cls).values()) <= {str, int, float, bool}])
def test_no_string_of_an_event_reaches_the_terminal_raw(kind: str) -> None:
    cls = codec.registry(e.Event)[kind]
    hints = get_type_hints(cls)
    event = cls(**{spec.name: {str: EVIL, int: 7, float: 1.5, bool: True}[hints[spec.name]]
                   for spec in dataclasses.fields(cls)})
    state = RunState()
    state.fold(event, 1.0)
    words = [sentence(event), state.ended, state.guard, state.paused_by, state.trouble,
             *(entry.words + entry.by for entry in state.story.entries)]
    for said in [EVIL, *words]:
        assert not obeyed(plain_output(said, terminal=True)) and not obeyed(plain_output(said, terminal=False))
        assert not obeyed(_strip(Text(said), 80, True).text) and not obeyed(_strip(Text(said), 80, False).text)
