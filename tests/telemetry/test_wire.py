"""The wire form follows from the declaration: bounded, typed, and deaf to what it does not know."""

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tuitrain.telemetry import wire
from tuitrain.telemetry.run_state import RunState


@dataclass
class Part:
    name: str
    value: float
    later: int = field(default=3, metadata=wire.OPTIONAL)


@dataclass
class Whole:
    step: int = 0
    place: tuple[int, int] = (0, 0)
    newest: deque[Part] = field(default_factory=partial(deque, maxlen=2))
    found: Part | None = None
    rows: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    derived: int = field(default=0, metadata=wire.STAYS)


def whole(**other: Any) -> dict[str, Any]:
    return {"step": 7, "place": [1, 2], "newest": [{"name": "a", "value": "nan"}], "found": None,
            "rows": {"x": [[1, 2.5]]}, **other}


def test_there_and_back() -> None:
    made = Whole(7, (1, 2), deque([Part("b", 1.0)], 2), Part("c", 2.0), {"x": [(1, 2.5)]}, derived=9)
    told = wire.to_wire(made)
    assert "derived" not in told and wire.record_from_wire(Whole, told) == Whole(**{**vars(made), "derived": 0})


def test_what_is_not_known_is_passed_over_and_a_deque_stays_bounded() -> None:
    many = [{"name": str(n), "value": n, "mood": 1} for n in range(100)]
    read = wire.record_from_wire(Whole, whole(newest=many, mood="bright"))
    assert [part.name for part in read.newest] == ["98", "99"] and read.newest.maxlen == 2
    assert read.newest[0].later == 3


@pytest.mark.parametrize("wrong", [
    {"step": "7"}, {"step": True}, {"step": 2**70}, {"place": [1]}, {"place": [1, 2, 3]}, {"newest": {}},
    {"newest": [{"name": "a"}]}, {"newest": [1]}, {"found": 3}, {"rows": []}, {"rows": {"x": [[1]]}}])
def test_what_is_of_another_kind_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        wire.record_from_wire(Whole, whole(**wrong))


def test_every_field_of_a_state_is_needed_and_has_its_kind() -> None:
    told = RunState().to_wire()
    assert RunState.from_wire(told).to_wire() == told
    for name in told:
        with pytest.raises((KeyError, TypeError, ValueError)):
            RunState.from_wire({key: value for key, value in told.items() if key != name})
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            RunState.from_wire({**told, name: object()})
