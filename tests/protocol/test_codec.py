"""Every class goes through a line and comes back equal; damage is found."""

import dataclasses
import json
import math
import typing
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuitrain.engine.reporter import floats
from tuitrain.protocol import codec, commands, events

ALL = [*codec.registry(events.Event).values(), *codec.registry(commands.Command).values()]
INTEGERS = st.integers(-2**63, 2**64 - 1)
JSON = st.dictionaries(st.text(max_size=5), st.one_of(INTEGERS, st.text(max_size=5), st.booleans()), max_size=3)


def values_of(hint: object) -> st.SearchStrategy:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    simple = {float: st.floats(), int: st.integers(-2**53, 2**53), str: st.text(max_size=20), bool: st.booleans()}
    if hint in simple:
        return simple[hint]
    if origin is tuple:
        return st.lists(values_of(args[0]), max_size=4).map(tuple)
    if origin is not None and issubclass(origin if isinstance(origin, type) else object, Mapping):
        return JSON if args[1] is typing.Any else st.dictionaries(st.text(max_size=5), values_of(args[1]), max_size=3)
    if type(None) in args:
        return st.one_of(*[st.none() if a is type(None) else values_of(a) for a in args])
    finite = st.floats(allow_nan=False, allow_infinity=False)  # a knob's value: bounded by definition
    return st.one_of(finite, st.text(max_size=5), st.lists(finite, min_size=1, max_size=3).map(tuple))


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_round_trip(cls: type, data: st.DataObject) -> None:
    hints = typing.get_type_hints(cls)
    message = cls(**{name: data.draw(values_of(hint)) for name, hint in hints.items()})
    line = codec.encode(message, time=12.5)
    body = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert list(body)[:3] == ["v", "kind", "time"] and list(body)[-1] == "crc" and body["kind"] == cls.__name__
    assert line.isascii() and "\n" not in line
    if issubclass(cls, events.Event):
        back, when = codec.decode_event(line)
        assert when == 12.5
    else:
        back = codec.decode_command(line)
    for spec in dataclasses.fields(cls):
        assert same(getattr(message, spec.name), getattr(back, spec.name)), spec.name


def test_every_class_is_frozen_slotted_and_keyword_only() -> None:
    assert len(ALL) > 35
    for cls in ALL:
        assert cls.__dataclass_params__.frozen and "__slots__" in vars(cls)
        assert all(spec.kw_only for spec in dataclasses.fields(cls))
        assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")


@given(st.lists(st.floats(width=32), max_size=30))
def test_float32_survives_exactly(numbers: list[float]) -> None:
    array = np.array(numbers, dtype=np.float32)
    event = events.StepsDone(branch=0, first_step=1, epoch=0.0, loss=floats(array), grad_norm=(), every=1, clipped=(),
                             skipped=(), lr=(), clip=(), norms={}, seconds=0.0)
    back, _ = codec.decode_event(codec.encode(event))
    assert isinstance(back, events.StepsDone)
    assert np.array_equal(np.array(back.loss, dtype=np.float32), array, equal_nan=True)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_found(position: int, change: int) -> None:
    event = events.NoteAdded(branch=0, step=3, text="the tide came late", id="a", by="b")
    line = bytearray(codec.encode(event, 1.0).encode())
    line[position % len(line)] ^= change
    try:
        back, _ = codec.decode_event(bytes(line))
    except codec.DamagedLine:
        return
    assert back == event, "only what changes nothing may pass"


@pytest.mark.parametrize("line", [b"", b"{}", b"not json", b'{"v":1}', codec.seal({"v": 9, "kind": "Paused"}).encode(),
                                  codec.seal({"v": 1, "kind": "Nothing"}).encode(),
                                  codec.seal({"v": 1, "kind": "Paused", "time": 1, "step": "x"}).encode()])
def test_what_is_no_message_is_damaged(line: bytes) -> None:
    with pytest.raises(codec.DamagedLine):
        codec.decode_event(line)


def test_lone_surrogates_do_not_break_a_line() -> None:
    note = events.NoteAdded(branch=0, step=1, text="\ud800 half", id="", by="")
    assert codec.decode_event(codec.encode(note).encode())[0] == note


@pytest.mark.parametrize("clip", [math.inf, math.nan, 1.5, "auto", None])
def test_a_number_or_a_word_comes_back_as_what_it_was(clip: float | str | None) -> None:
    back = codec.decode_command(codec.encode(commands.Rollback(id="1", by="me", clip=clip)))
    assert same(back.clip, clip)
