"""Events of another version, with other keys inside: counted and passed over, the rest of the run is shown."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.run_state import UNREAD, RunState
from tuitrain.telemetry.story import LETTERS, WORDS

ODD: list[Any] = [{"other": {"keys": 1}}, {}, [], {"layer0": []}, "text", -1, 2**62, None]


def note(step: int) -> e.NoteAdded:
    return e.NoteAdded(branch=0, step=step, id="", by="", text="still here")


def test_a_probe_with_other_keys_is_counted_and_passed_over() -> None:
    state = RunState()
    state.fold(f.Probed(branch=0, step=3, loss=1.0, entropy=1.0, layers=({"strange": 1.0},), reason="", seconds=0.1))
    state.fold(note(4), 2.0)
    state.fold(f.Probed(branch=0, step=5, loss=1.0, entropy=1.0, layers=({},), reason="", seconds=0.1))
    assert state.unusable == 2 and "still here" in state.story.entries[-1].words
    assert [entry.words for entry in state.story.entries].count(UNREAD) == 1, "told once, quietly"
    assert RunState.from_wire(state.to_wire()).unusable == 2


def test_no_note_and_no_sample_fills_the_memory() -> None:
    state, huge = RunState(), "x" * 3_000_000
    piece = e.SamplePiece(branch=0, step=1, temperature=1.0, prompt="", text=huge, bits=(1.0,) * 300_000, first=True)
    for event in (e.NoteAdded(branch=0, step=1, text=huge, id="", by="me"), piece,
                  dataclasses.replace(piece, first=False),
                  e.SampleDrawn(branch=0, step=1, temperature=1.0, prompt="", text=huge, health={})):
        state.fold(event, 1.0)
    entries, [text] = state.story.entries, state.story.texts
    assert all(len(entry.words) <= WORDS + 2 for entry in entries) and entries[0].words.endswith("…")
    assert len(text.text) == len(text.bits) == LETTERS


@pytest.mark.parametrize("kind", sorted(codec.registry(e.Event)))
def test_no_event_that_decodes_can_end_a_fold(kind: str) -> None:
    cls = codec.registry(e.Event)[kind]
    for odd in ODD:
        body: dict[str, Any] = {"v": codec.VERSION, "kind": kind, "time": 1.0}
        for spec in dataclasses.fields(cls):
            body[spec.name] = odd
        for name, hint in get_type_hints(cls).items():  # what must be plain is, so that the rest gets through
            body[name] = {int: 7, float: 1.5, str: "x", bool: True}.get(hint, odd)
        try:
            event = codec.from_body(body, e.Event)
        except codec.DamagedLine:
            continue
        state = RunState()
        state.fold(event, 1.0)
        state.fold(note(9), 2.0)
        assert "still here" in state.story.entries[-1].words
