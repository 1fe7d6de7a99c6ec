"""Events of another version, with other keys inside: counted and passed over, the rest of the run is shown."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.run_state import RunState

ODD: list[Any] = [{"other": {"keys": 1}}, {}, [], {"layer0": []}, "text", -1, 2**62, None]


def note(step: int) -> e.NoteAdded:
    return e.NoteAdded(branch=0, step=step, id="", by="", text="still here")


def test_a_probe_with_other_keys_is_counted_and_passed_over() -> None:
    state = RunState()
    state.fold(f.Probed(branch=0, step=3, loss=1.0, entropy=1.0, layers=({"strange": 1.0},), reason="", seconds=0.1))
    state.fold(note(4), 2.0)
    assert state.unusable == 1 and "still here" in state.story.entries[-1].words


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
