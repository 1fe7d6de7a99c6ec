"""Which runs are compared, and in which order: `val<2`, `hidden=256`, `name~harbour`; by a number or a setting."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from tuitrain.comparing.records import NUMBERS, Record
from tuitrain.errors import UsageError, nearest

_CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*?)\s*")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "==": operator.eq,
    "!=": operator.ne}
Condition = Callable[[Record], bool]


def value(record: Record, key: str) -> Any:
    """Return a number, a setting, the `name` or the `state` of a run; None if it has no such thing."""
    if key in NUMBERS:
        found = record.numbers[key]
        return None if math.isnan(found) else found
    if key in ("name", "state"):
        return getattr(record, key)
    return record.config.get(key, record.config.get(key.replace("-", "_")))


def condition(text: str, known: Sequence[Record]) -> Condition:
    """Return the test that a text means. Raises UsageError if it is none, or names what no run has."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f"--where {text}: write a name, one of < <= > >= = != ~, and a value: val<2, hidden=256, "
                         "name~harbour")
    key, sign, wanted = match.groups()
    check(key, known, "--where")
    if sign == "~":
        return lambda record: wanted.lower() in str(value(record, key) or "").lower()
    compare = _COMPARE[sign]

    def holds(record: Record) -> bool:
        have = value(record, key)
        if have is None:
            return sign == "!="
        try:
            return compare(float(have), float(wanted))
        except (TypeError, ValueError):
            return compare(_words(have), wanted.lower()) if sign in ("=", "==", "!=") else False

    return holds


def ordered(records: Sequence[Record], key: str) -> list[Record]:
    """Return the runs by a number or setting, `-key` the largest first; those without it come last."""
    name, down = key.removeprefix("-"), key.startswith("-")
    check(name, records, "--sort")
    have = [r for r in records if value(r, name) is not None]
    lacking = [r for r in records if value(r, name) is None]
    return sorted(have, key=lambda r: _place(value(r, name)), reverse=down) + lacking


def check(key: str, known: Sequence[Record], option: str) -> None:
    """Raise UsageError if no run has anything of this name."""
    names = {*NUMBERS, "name", "state", *(setting for record in known for setting in record.config)}
    if key not in names and key.replace("-", "_") not in names and known:
        near = nearest(key, sorted(names), 0.5)
        raise UsageError(f"{option} {key}: no run has that; " + (f"did you mean {near}?" if near else
                         f"there are {', '.join(NUMBERS)}, name, state and the settings of the runs"))


def _place(found: Any) -> tuple[int, float, str]:
    try:
        return 0, float(found), ""
    except (TypeError, ValueError):
        return 1, 0.0, _words(found)


def _words(found: Any) -> str:
    return str(found).lower()


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ, each with the value of every run; None where a run has no such."""
    names = dict.fromkeys(name for record in records for name in record.config)
    rows = {name: [record.config.get(name) for record in records] for name in names}
    return {name: values for name, values in rows.items() if any(v != values[0] for v in values)}
