"""Dataclasses as plain JSON and back: the wire form follows from the declaration of the fields. Knows no class by name.

A field travels under its name. A class with `to_wire` and `from_wire` of its own decides its form itself; all else is
read by its annotation. A field that the reader has no word for is a newer writer's, and is passed over.
"""

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

from tuitrain.protocol import codec

T = TypeVar("T")
STAYS: Mapping[str, bool] = {"stays": True}
"""Metadata of a field that does not travel: it is derived from others, or gone before anybody reads it."""
OPTIONAL: Mapping[str, bool] = {"optional": True}
"""Metadata of a field that may be missing, and then has its default."""


def to_wire(value: Any) -> Any:
    """Return a value as plain JSON."""
    kind: Any = type(value)
    return _writer(kind)(value)


@cache
def _writer(cls: Any) -> Callable[[Any], Any]:
    """Return how values of a class are written: what kind of class it is, is asked once."""
    if hasattr(cls, "to_wire"):
        return lambda value: value.to_wire()
    if dataclasses.is_dataclass(cls):
        return fields_to_wire
    if issubclass(cls, deque | list | tuple):
        return lambda value: [to_wire(v) for v in value]
    return codec.plain


def fields_to_wire(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that travel."""
    cls: Any = type(record)
    return {spec.name: to_wire(getattr(record, spec.name)) for spec in _travelling(cls)}


def from_wire(hint: Any, value: Any) -> Any:
    """Return the value of an annotation. Raises KeyError, TypeError or ValueError for what is none."""
    return _reader(hint)(value)


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return the function that reads values of an annotation, which is taken apart once."""
    if hasattr(hint, "from_wire"):
        return lambda value: hint.from_wire(value)
    if dataclasses.is_dataclass(hint):
        return partial(record_from_wire, typing.cast(Any, hint))
    origin, members = typing.get_origin(hint), [member for member in typing.get_args(hint) if member is not Ellipsis]
    if origin in (typing.Union, types.UnionType) and types.NoneType in members:
        [read] = [_reader(member) for member in members if member is not types.NoneType]
        return lambda value: None if value is None else read(value)
    if origin in (list, deque) or (origin is tuple and len(members) == 1):
        return partial(_items, tuple if origin is tuple else list, _reader(members[0]))
    if origin is dict:
        return partial(_object, _reader(members[1]))
    return codec.reader(hint)


def _items(made: Callable[[Iterable[Any]], Any], read: Callable[[Any], Any], value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{str(value)[:40]} is not a list")
    return made(map(read, value))


def _object(read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{str(value)[:40]} is not an object")
    return {str(key): read(v) for key, v in value.items()}


def fields_from_wire(cls: Any, wire: Any) -> dict[str, Any]:
    """Return the arguments that make a dataclass again; only an optional field may be missing.

    A deque keeps the length to which its default is bounded. Raises KeyError, TypeError or ValueError.
    """
    if not isinstance(wire, dict):
        raise TypeError(f"{str(wire)[:40]} is not an object")
    return {name: read(wire[name]) for name, read, optional in _fields(cls) if not optional or name in wire}


def record_from_wire(cls: type[T], wire: Any) -> T:
    """Return the dataclass that `fields_to_wire` described. Raises KeyError, TypeError or ValueError."""
    return cls(**fields_from_wire(cls, wire))


@cache
def _travelling(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(spec for spec in dataclasses.fields(cls) if not spec.metadata.get("stays"))


@cache
def _fields(cls: Any) -> tuple[tuple[str, Callable[[Any], Any], bool], ...]:
    """Return name, reader and whether it may be missing, of each field that travels."""
    hints, found = typing.get_type_hints(cls), []
    for spec in _travelling(cls):
        read = _reader(hints[spec.name])
        if typing.get_origin(hints[spec.name]) is deque and spec.default_factory is not dataclasses.MISSING:
            read = partial(_bounded, spec.default_factory().maxlen, read)
        found.append((spec.name, read, bool(spec.metadata.get("optional"))))
    return tuple(found)


def _bounded(most: int | None, read: Callable[[Any], Any], value: Any) -> deque[Any]:
    return deque(read(value), most)
