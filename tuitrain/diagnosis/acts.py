"""Records which acts made steps larger, and whether they may have caused a later trouble. Knows no losses.

Only an act that raised the size of a step can be blamed: a learning rate that went up, a clip that went up or off,
whether set by hand or by a rollback, an undo or a resume. What the program itself sets is blamed on nobody, but is
the baseline for later acts.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuitrain.protocol import askers
from tuitrain.telemetry.units import many, number

BELONGS = 400
"""Maximum steps between an act and the trouble it caused, or between two acts that count as one."""
LINES = 50
"""Number of abandoned branches whose acts are kept: as many as undo can return to."""
DOUBLED = 0.02
KNOBS = ("lr", "clip")


@dataclass(frozen=True, slots=True)
class Raised:
    """`knob` went up by `factor` (inf: a clip turned off) between the steps `first` and `last`.

    `ceiling` is the value before; `words` describe the act and its step.
    """

    knob: str
    factor: float
    first: int
    last: int
    ceiling: float
    words: str


@dataclass(frozen=True, slots=True)
class _Turn:
    """`value` is in force from the step after `step`; a clip that is off is inf."""

    step: int
    value: float
    how: str = ""
    blamed: bool = False


_Line = dict[str, list[_Turn]]


class Acts:
    """Knob values over the current lineage. Methods that record an act return whether a person made steps larger."""

    def __init__(self) -> None:
        self._line: _Line = {name: [] for name in KNOBS}
        self._left: dict[int, _Line] = {}

    def begin(self, step: int, knobs: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
        """Record the start of a run, or a resume whose knobs may differ from those `before`."""
        self._line = {name: [_Turn(step, _size(name, before[name]))] for name in KNOBS if name in before}
        self._left.clear()
        return self._set(step, knobs, "resume", "")

    def turned(self, step: int, name: str, old: float, new: float, by: str) -> bool:
        """Record a knob change."""
        if not self._line.get(name):
            self._line[name] = [_Turn(0, _size(name, old))]
        return self._set(step, {name: new}, "turn", by)

    def back(self, left: int, step: int, knobs: Mapping[str, Any], by: str) -> bool:
        """Record a rollback from branch `left` to an earlier step, with `knobs`."""
        self._leave(left)
        self._cut(step)
        return self._set(step, knobs, "rollback", by)

    def undone(self, left: int, branch: int, step: int, knobs: Mapping[str, Any], by: str) -> bool:
        """Record an undo; undoing a rollback returns to another branch than `left`."""
        if branch != left:
            self._leave(left)
            self._line = self._left.pop(branch, self._line)
        self._cut(step)
        return self._set(step, knobs, "undo", by)

    def raised(self, onset: int, now: int, largest: Callable[[int], float]) -> tuple[Raised, ...]:
        """Return the raises by a person that may have caused a trouble at `onset`, noticed at `now`; the rate first.

        A clip counts only if the previous one would have acted: `largest` returns the largest norm since a step.
        """
        return tuple(found for name in KNOBS for found in self._raised(name, onset, now)
                     if name == "lr" or largest(found.first) > found.ceiling)

    def _raised(self, name: str, onset: int, now: int) -> Iterator[Raised]:
        turns = [turn for turn in self._line.get(name, []) if turn.step <= now]
        chain: list[tuple[_Turn, _Turn]] = []
        for before, turn in zip(reversed(turns[:-1]), reversed(turns[1:]), strict=True):
            if onset - turn.step > BELONGS:
                break
            if turn.blamed:
                chain.insert(0, (before, turn))
                onset = min(onset, turn.step)
        # Relative to the value before the first of them: lowering a rate and restoring it raises nothing.
        size, peak, until = 1.0, 1.0, 0
        for i, (before, turn) in enumerate(chain, 1):
            size *= _ratio(before.value, turn.value)
            if size > peak:
                peak, until = size, i
        if until:
            yield _described(name, peak, chain[:until])

    def _set(self, step: int, knobs: Mapping[str, Any], how: str, by: str) -> bool:
        larger = False
        for name in KNOBS:
            if name not in knobs:
                continue
            turns, value = self._line.setdefault(name, []), _size(name, knobs[name])
            blamed = by not in askers.AUTOMATIC
            while len(turns) > 1 and turns[-1].step >= step and turns[-1].blamed == blamed:
                turns.pop()  # no step was made with that value: several key presses count as one change
            before = turns[-1].value if turns else value
            if not turns or before != value:
                turns.append(_Turn(step, value, how, blamed and bool(turns)))
            larger = larger or (blamed and value > before)
            del turns[1:-LINES]
        return larger

    def _leave(self, branch: int) -> None:
        self._left[branch] = {name: list(turns) for name, turns in self._line.items()}
        while len(self._left) > LINES:
            del self._left[next(iter(self._left))]

    def _cut(self, step: int) -> None:
        """Remove the changes made at or after a step, which belong to the abandoned branch."""
        self._line = {name: turns[:1] + [turn for turn in turns[1:] if turn.step < step]
                      for name, turns in self._line.items()}


def since(raised: tuple[Raised, ...]) -> str:
    """Return words such as `since your lr x40 at step 1,500`; empty if nothing was raised."""
    return "since " + " and ".join(each.words for each in raised) if raised else ""


def _size(name: str, value: Any) -> float:
    return math.inf if name == "clip" and not value else float(value)


def _ratio(old: float, new: float) -> float:
    if old == new:
        return 1.0
    return new / old if old and math.isfinite(old) else math.inf if new > old else 0.0


def _described(name: str, factor: float, chain: list[tuple[_Turn, _Turn]]) -> Raised:
    raises = [turn for before, turn in chain if turn.value > before.value]
    first, last, ceiling = raises[0], chain[-1][1], chain[0][0].value
    if name == "clip":
        what = f"clip {_clip(ceiling)} → {_clip(last.value)}"
    elif not math.isfinite(factor):
        what = f"lr {number(ceiling)} → {number(last.value)}"
    else:
        what = f"lr x{number(factor)}"
    if len(raises) > 1:
        ratios = [_ratio(before.value, turn.value) for before, turn in chain]
        if name == "lr" and len(raises) == len(chain) and math.isfinite(factor):
            verb = "doubled" if all(abs(ratio - 2) < DOUBLED for ratio in ratios) else "raised"
            what = f"lr {verb} {_times(len(raises))}, x{number(factor)}"
        words = f"your {what} since step {first.step:,}"
    else:
        words = {"rollback": f"your rollback to step {first.step:,} with {what}",
                 "undo": f"your undo at step {first.step:,}, {what}",
                 "resume": f"you resumed at step {first.step:,} with {what}"}.get(
                     first.how, f"your {what} at step {first.step:,}")
    return Raised(name, factor, first.step, last.step, ceiling, words)


def _times(count: int) -> str:
    return {2: "twice", 3: "three times", 4: "four times"}.get(count) or many(count, "time")


def _clip(value: float) -> str:
    return number(value) if math.isfinite(value) else "off"
