"""The few numbers a person may turn mid-run, each declared once with all that other rooms need to know of it.

Knows nothing of what they do.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Final

from tuitrain.errors import Refused, UsageError

Value = float | str | tuple[float, ...]
MAX_PROMPT = 10_000
MAX_TEMPERATURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobSpec:
    """A knob: its range, both ends included, what its number means, and the words it takes besides a number."""

    name: str
    meaning: str
    kind: type[float] | type[int] | type[str] | type[tuple[float, ...]] = float
    low: float = -math.inf
    high: float = math.inf
    scales: bool = False
    """Whether it may be multiplied, as in `x0.5`."""
    zero: str = ""
    """The word for 0; empty if 0 is a number like any other."""
    auto: bool = False
    """Whether it may follow the run's own numbers instead of a value."""
    example: str = ""
    """The end of the sentence that refuses what is not a number."""
    label: str = ""
    """Its name where there is little room, if that is another."""
    command: str = "SetKnob"
    """The class of the command that sets it."""

    @property
    def ranged(self) -> bool:
        """Whether it is one number or several, within a range."""
        return self.kind is not str


KNOBS: Final = {spec.name: spec for spec in (
    KnobSpec(name="lr", meaning="base learning rate; the schedule multiplies it", low=0.0, high=10.0, scales=True,
             example=", as 0.001 or x0.5 are"),
    KnobSpec(name="clip", meaning="threshold of the gradient clip; 0 is off", low=0.0, high=1e6, scales=True,
             zero="off", auto=True, example=", as 1.5 or x0.5 are, nor off or auto"),
    KnobSpec(name="temperature", meaning="divisor of the logits when sampling", kind=tuple[float, ...], low=0.01,
             high=10.0, label="temp"),
    KnobSpec(name="steps", meaning="last step of the run; 0 is open-ended", kind=int, low=0, high=1e12),
    KnobSpec(name="prompt", meaning="text that samples start from", kind=str, command="SetPrompt"),
)}
AUTO: Final = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Replaced as a whole at a step boundary, never mutated."""

    lr: float
    clip: float
    temperature: tuple[float, ...]
    prompt: str
    steps: int
    """Last step of the run and horizon of its schedule; 0 when the run is open-ended."""
    clip_auto: bool = False
    """The clip follows the run's own gradient norms; a clip that is set by hand ends that."""

    def turned(self, name: str, value: Value) -> "Knobs":
        """These knobs with one of them set. Raises Refused with the bound that was crossed."""
        follows = f"{name}_auto"
        if value == AUTO and _follows(name):
            return replace(self, **{follows: True})  # type: ignore[arg-type]
        by_hand = {follows: False} if _follows(name) else {}
        return replace(self, **{name: checked(name, value)}, **by_hand)  # type: ignore[arg-type]

    def scaled(self, name: str, factor: float) -> "Knobs":
        """These knobs with one of them multiplied; relative turns start from the engine's own truth."""
        return self.turned(name, scaled(name, getattr(self, name), factor))


def _follows(name: str) -> bool:
    return name in KNOBS and KNOBS[name].auto


def _check_declared() -> None:
    """Raise RuntimeError where the fields of Knobs and the declared knobs differ: a mistake of ours, found at start."""
    declared = {*KNOBS, *(f"{name}_auto" for name in KNOBS if _follows(name))}
    differ = declared ^ {field.name for field in fields(Knobs)}
    if differ:
        raise RuntimeError(f"knobs: declared and built are not the same: {', '.join(sorted(differ))}")


_check_declared()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wrote for a knob: a value, or a factor of the value in force."""

    value: Value = 0.0
    factor: float | None = None

    def of(self, name: str, now: float) -> Value:
        """The value that it comes to where `now` is in force. Raises Refused with the bound that was crossed."""
        if self.value == AUTO and _follows(name):
            return self.value
        return checked(name, self.value if self.factor is None else scaled(name, now, self.factor))


def wish(name: str, text: str) -> Wish:
    """`0.001` or `x0.5`, for a clip also `off` and `auto`: the same words in every place. Raises UsageError."""
    text, spec = text.strip(), KNOBS[name]
    if spec.scales and text.startswith("x"):
        return Wish(factor=number_in(name, text[1:]))
    if spec.zero and text == spec.zero:
        return Wish(0.0)
    if spec.auto and text == AUTO:
        return Wish(AUTO)
    if spec.kind == tuple[float, ...]:
        return Wish(tuple(number_in(name, part) for part in text.split(",")))
    return Wish(number_in(name, text))


def number_in(name: str, text: str) -> float:
    """The number that a person wrote, `1,000` and `1_000` too. Raises UsageError naming the knob or command."""
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError:
        example = KNOBS[name].example if name in KNOBS else ""
        raise UsageError(f"{name}: {text!r} is not a number{example}") from None


def whole(name: str, text: str) -> int:
    """The whole number that a person wrote. Raises UsageError naming the knob or command."""
    number = number_in(name, text)
    if not number.is_integer():
        raise UsageError(f"{name}: {text!r} is not a whole number")
    return int(number)


def scaled(name: str, old: float, factor: float) -> float:
    """A knob's value times a factor. Raises Refused."""
    spec = KNOBS.get(name)
    if spec is None or not spec.scales:
        raise Refused(f"{name} cannot be scaled; set it to a value")
    if not (math.isfinite(factor) and factor > 0):
        raise Refused(f"{name} x{factor:g}: the factor must be a finite number above 0")
    if spec.zero and old == 0:
        raise Refused(f"{name} is {spec.zero}, so there is nothing to scale; set it to a value")
    return old * factor


def checked(name: str, value: Value) -> Value:
    """The value in the knob's own type, or Refused naming the knob and its range."""
    spec = KNOBS.get(name)
    if spec is None:
        raise Refused(f"there is no knob called {name!r}; there are {', '.join(KNOBS)}")
    if spec.kind is str:
        if not isinstance(value, str):
            raise Refused(f"{name} must be text")
        if len(value) > MAX_PROMPT:
            raise Refused(f"{name} of {len(value)} characters is longer than {MAX_PROMPT}")
        return value
    if spec.kind == tuple[float, ...]:
        values = value if isinstance(value, tuple) else (value,)
        if not 1 <= len(values) <= MAX_TEMPERATURES:
            raise Refused(f"{name} takes 1 to {MAX_TEMPERATURES} values")
        return tuple(_in_bounds(spec, v) for v in values)
    number = _in_bounds(spec, value)
    return int(number) if spec.kind is int else number


def _in_bounds(spec: KnobSpec, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"{spec.name} {value!r} is not a finite number")
    if not spec.low <= value <= spec.high:
        raise Refused(f"{spec.name} {value:g} is outside {spec.low:g} to {spec.high:g}")
    return float(value)
