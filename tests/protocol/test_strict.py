"""Whatever the bytes are: a value, or BadJson with a sentence."""

import contextlib
import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuitrain.protocol import codec, events, strict

DEEP = b"[" * 100_000
SEALED = codec.seal({"v": 1, "kind": "Paused", "time": 1, "branch": 0, "step": 1, "id": "", "by": ""}).encode()


def resealed(text: str) -> bytes:
    """A text that is no message of ours, with the checksum that makes it look like one."""
    return f'{text[:-1]},"crc":{zlib.crc32(text.encode())}}}'.encode()


@pytest.mark.parametrize(("raw", "why"), [
    (DEEP, "deeper than 32"), (b'{"a":' * 40 + b"1" + b"}" * 40, "deeper than 32"),
    (b"[" + b"9" * 5000 + b"]", "integer of 5,000"), (b"[-" + b"1" * 400 + b"]", "integer"),
    (b"[1e999]", "too large"), (b"[-1E+400]", "too large"), (b"[" + b"1" * 400 + b".5]", "too large"),
    (b"[NaN]", "NaN"), (b"[Infinity]", "Infinity"), (b"[-Infinity]", "-Infinity"),
    (b'{"a":1,"b":2,"a":3}', "twice"), (b'["\xff"]', "byte 2 is not UTF-8"), (b"", "not JSON"),
    (b"x" * 11_000_000, "more than"), (b'"' + b'\\"' * 50_000, "not JSON"), (b"[1] 2", "not JSON"),
    ("\ufeff{}", "BOM")])
def test_what_is_refused_says_why(raw: bytes | str, why: str) -> None:
    with pytest.raises(strict.BadJson, match=why):
        strict.loads(raw)


@pytest.mark.parametrize("value", [
    18446744073709551615, -(2**63), 1.7976931348623157e308, 1e-300, "[" * 100 + "9" * 100, "1e999", {"a": [[]] * 50},
    [[[[]]]] * 40])
def test_what_is_json_is_taken(value: object) -> None:
    assert strict.loads(json.dumps(value)) == value
    assert strict.loads(json.dumps(value).encode()) == value


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_bytes_are_a_value_or_refused(raw: bytes | str) -> None:
    with contextlib.suppress(strict.BadJson):
        strict.loads(raw)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
                    max_leaves=12)
KINDS = [*codec.registry(events.Event), "Hello", "State", "Nothing"]


@given(st.binary(max_size=200) | st.builds(
    lambda kind, rest: resealed(json.dumps({**rest, "v": 1, "kind": kind})), st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(["time", "step", "branch", "loss", "name", "old", "new", "id", "by", "text",
                                     "layers", "norms", "first_step", "clients", "config", "health"]), JSON)))
@example(SEALED[:-2] + b"1" * 5000 + b"}")
@example(resealed("[" * 2000 + "]" * 2000))
@example(resealed('{"v":1,"kind":"Paused","time":1,"branch":0,"step":1' + "0" * 400 + "}"))
@example(resealed('{"v":1,"kind":"Paused","time":1e300,"branch":0,"step":1,"id":"","by":""}'))
def test_any_line_is_a_message_or_damaged(line: bytes) -> None:
    for decode in (codec.decode_event, codec.decode_command):
        with contextlib.suppress(codec.DamagedLine):
            decode(line)


def test_a_field_that_a_newer_version_added_is_ignored_and_a_kind_it_added_is_told_apart() -> None:
    body = codec.body_of(events.EngineSaid(text="hello"), 1.0)
    assert codec.decode_event(codec.seal({**body, "colour": "red"}))[0] == events.EngineSaid(text="hello")
    with pytest.raises(codec.UnknownKind):
        codec.decode_event(codec.seal({**body, "kind": "Sang"}))
