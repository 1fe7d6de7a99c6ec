"""Encode messages as lines of strict JSON, versioned and checksummed, and decode them. Knows no message by name.

Non-finite numbers are the strings "nan", "inf" and "-inf". Lines are pure ASCII, so a cut anywhere leaves the
lines before it readable. Whoever creates a message with float32 numbers writes each as the shortest decimal that
reads back as the same float32.
"""

import dataclasses
import json
import math
import re
import time as clock
import types
import typing
import zlib
from collections.abc import Callable, Hashable, Mapping
from functools import cache, partial
from typing import Any, Final, TypeVar

from tuitrain.protocol import commands, events, strict
from tuitrain.protocol import findings as _findings  # noqa: F401 - its classes are found as subclasses of Event

VERSION: Final = 1
MAX_LINE: Final = 4 << 20
MAX_INT: Final = 2**63 - 1
MAX_TIME: Final = 253_402_300_799.0
"""The last second of the year 9999 in Unix seconds, the largest that `datetime` can represent."""
_CRC = re.compile(rb',"crc":(\d{1,10})\}\Z')
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Message = events.Event | commands.Command
M = TypeVar("M", events.Event, commands.Command)


class DamagedLine(ValueError):
    """A line that is not JSON, fails its checksum or is not a known message."""


class UnknownKind(DamagedLine):
    """An intact line with a message that this version does not know: a newer one wrote it."""


def registry(base: type[Message]) -> dict[str, type[Message]]:
    """Return every message class by its name, which is the `kind` of its lines."""
    return {cls.__name__: cls for cls in base.__subclasses__()}


def encode(message: Message, time: float | None = None) -> str:
    """Return the line of a message, without newline; `time` is Unix seconds, now if None."""
    return seal(body_of(message, time))


def body_of(message: Message, time: float | None = None) -> dict[str, Any]:
    """Return the JSON object of a message, not yet sealed."""
    body: dict[str, Any] = {"v": VERSION, "kind": type(message).__name__,
                            "time": round(clock.time() if time is None else time, 3)}
    for spec in dataclasses.fields(message):
        body[spec.name] = plain(getattr(message, spec.name))
    return body


def seal(body: Mapping[str, Any]) -> str:
    """Return the JSON of an object with the crc32 of the rest as its last key."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return f'{text[:-1]},"crc":{zlib.crc32(text.encode())}}}'


def unseal(line: str | bytes) -> dict[str, Any]:
    """Return the object in a sealed line. Raises DamagedLine, and nothing else, for any other bytes."""
    raw = line.encode(errors="surrogatepass") if isinstance(line, str) else line
    raw = raw.rstrip(b"\r\n")
    match = _CRC.search(raw)
    if match is None:
        raise DamagedLine("no checksum at the end of the line")
    if zlib.crc32(raw[: match.start()] + b"}") != int(match[1]):
        raise DamagedLine("the checksum does not match")
    try:
        body = strict.loads(raw, max_bytes=MAX_LINE)
    except strict.BadJson as error:
        raise DamagedLine(str(error)) from None
    if not isinstance(body, dict):
        raise DamagedLine("not a JSON object")
    return body


def decode_event(line: str | bytes) -> tuple[events.Event, float]:
    """Return the event in a line and its time in Unix seconds. Raises DamagedLine."""
    body = unseal(line)
    return from_body(body, events.Event), time_of(body)


def time_of(body: Mapping[str, Any]) -> float:
    """Return when a message was written, in Unix seconds. Raises DamagedLine if that is missing or invalid."""
    time = body.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time <= MAX_TIME:
        raise DamagedLine(f"not a valid time: {str(time)[:40]}")
    return float(time)


def decode_command(line: str | bytes) -> commands.Command:
    """Return the command in a line. Raises DamagedLine."""
    return from_body(unseal(line), commands.Command)


def from_body(body: Mapping[str, Any], base: type[M]) -> M:
    """Build a message from an unsealed object, ignoring unknown keys of newer versions. Raises DamagedLine."""
    if body.get("v") != VERSION:
        raise DamagedLine(f"version {str(body.get('v'))[:40]} is not {VERSION}")
    cls = registry(base).get(str(body.get("kind")))
    if cls is None:
        raise UnknownKind(f"unknown kind {str(body.get('kind'))[:40]!r}")
    readers = _readers(typing.cast(Hashable, cls))
    try:
        values = {name: read(body[name]) for name, read in readers.items() if name in body}
        return typing.cast(M, cls(**values))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise DamagedLine(f"{cls.__name__}: {str(error)[:200]}") from None


@cache
def _readers(cls: Hashable) -> dict[str, Callable[[Any], Any]]:
    return {name: reader(hint) for name, hint in typing.get_type_hints(cls).items()}


def plain(value: Any) -> Any:
    """Return a value as strict JSON: non-finite floats as strings, tuples as lists."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def typed(hint: Any, value: Any) -> Any:
    """A value of strict JSON as its annotation wants it. Raises KeyError, TypeError or ValueError for another."""
    return reader(hint)(value)


@cache
def reader(hint: Any) -> Callable[[Any], Any]:
    """Return the function that `typed` applies: an annotation is taken apart once, not for each of many values."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint is float:
        return _float
    if origin is tuple and args[-1] is not Ellipsis:
        return partial(_fields, tuple(map(reader, args)))
    if origin is tuple:
        return partial(_items, reader(args[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return partial(_mapping, reader(args[1]))
    if origin in (typing.Union, types.UnionType):
        return partial(_union, args)
    return partial(_plain, hint)


def _float(value: Any) -> float:
    if isinstance(value, str):
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _fields(readers: tuple[Callable[[Any], Any], ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return tuple(read(v) for read, v in zip(readers, value, strict=True))


def _items(read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return tuple(map(read, value))


def _mapping(read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return {k: read(v) for k, v in value.items()}


def _plain(hint: Any, value: Any) -> Any:
    if (hint is bool or not isinstance(value, bool)) and isinstance(value, hint):
        if isinstance(value, int) and abs(value) > MAX_INT:
            raise ValueError(f"{value} is beyond 64 bits")
        return value
    raise TypeError(f"{value!r} is not {getattr(hint, '__name__', hint)}")


def _union(args: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in args:
        return None
    if isinstance(value, str) and str in args and not (value in _NON_FINITE and float in args):
        return value
    for hint in args:
        if hint is not type(None):
            try:
                return typed(hint, value)
            except (TypeError, KeyError):
                continue
    raise TypeError(f"{value!r} fits none of {args}")
