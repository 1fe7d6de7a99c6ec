"""Dataclasses as plain JSON and back: the wire form follows from the declaration of the fields. Knows no class by name.

A field travels under its name. A class with `to_wire` and `from_wire` of its own decides its form itself; all else is
read by its annotation. A field that the reader has no word for is a newer writer's, and is passed over.
"""

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from tuitrain.protocol import codec

T = TypeVar("T")
STAYS: Mapping[str, bool] = {"stays": True}
"""Metadata of a field that does not travel: it is derived from others, or gone before anybody reads it."""
OPTIONAL: Mapping[str, bool] = {"optional": True}
"""Metadata of a field that may be missing, and then has its default."""


def to_wire(value: Any) -> Any:
    """Return a value as plain JSON."""
    if hasattr(value, "to_wire"):
        return value.to_wire()
    if dataclasses.is_dataclass(value):
        return fields_to_wire(value)
    if isinstance(value, deque | list | tuple):
        return [to_wire(v) for v in value]
    return codec.plain(value)


def fields_to_wire(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that travel."""
    cls: Any = type(record)
    return {spec.name: to_wire(getattr(record, spec.name)) for spec in _travelling(cls)}


def from_wire(hint: Any, value: Any) -> Any:
    """Return the value of an annotation. Raises KeyError, TypeError or ValueError for what is none."""
    if hasattr(hint, "from_wire"):
        return hint.from_wire(value)
    if dataclasses.is_dataclass(hint):
        return hint(**fields_from_wire(hint, value))  # type: ignore[operator]
    origin, members = typing.get_origin(hint), [member for member in typing.get_args(hint) if member is not Ellipsis]
    if origin in (typing.Union, types.UnionType) and types.NoneType in members:
        if value is None:
            return None
        [member] = [member for member in members if member is not types.NoneType]
        return from_wire(member, value)
    if origin in (list, deque) or (origin is tuple and len(members) == 1):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{str(value)[:40]} is not a list")
        found = [from_wire(members[0], v) for v in value]
        return tuple(found) if origin is tuple else found
    if origin is dict and isinstance(value, dict):
        return {str(key): from_wire(members[1], v) for key, v in value.items()}
    return codec.typed(hint, value)


def fields_from_wire(cls: Any, wire: Any) -> dict[str, Any]:
    """Return the arguments that make a dataclass again; only an optional field may be missing.

    A deque keeps the length to which its default is bounded. Raises KeyError, TypeError or ValueError.
    """
    if not isinstance(wire, dict):
        raise TypeError(f"{str(wire)[:40]} is not an object")
    found, hints = {}, _hints(cls)
    for spec in _travelling(cls):
        if spec.metadata.get("optional") and spec.name not in wire:
            continue
        value = from_wire(hints[spec.name], wire[spec.name])
        if typing.get_origin(hints[spec.name]) is deque and spec.default_factory is not dataclasses.MISSING:
            value = deque(value, spec.default_factory().maxlen)
        found[spec.name] = value
    return found


def record_from_wire(cls: type[T], wire: Any) -> T:
    """Return the dataclass that `fields_to_wire` described. Raises KeyError, TypeError or ValueError."""
    return cls(**fields_from_wire(cls, wire))


@cache
def _travelling(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(spec for spec in dataclasses.fields(cls) if not spec.metadata.get("stays"))


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)
