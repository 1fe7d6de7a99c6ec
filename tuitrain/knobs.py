"""The few numbers a person may turn mid-run, and their bounds. Knows nothing of what they do."""

import math
from dataclasses import dataclass, replace
from typing import Final

from tuitrain.errors import Refused, UsageError

Value = float | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a knob, both ends included, and what the number means."""

    low: float
    high: float
    meaning: str


BOUNDS: Final = {
    "lr": Bounds(0.0, 10.0, "base learning rate; the schedule multiplies it"),
    "clip": Bounds(0.0, 1e6, "threshold of the gradient clip; 0 is off"),
    "temperature": Bounds(0.01, 10.0, "divisor of the logits when sampling"),
    "steps": Bounds(0, 1e12, "last step of the run; 0 is open-ended"),
}
SCALED = ("lr", "clip")
EXAMPLES = {"lr": ", as 0.001 or x0.5 are", "clip": ", as 1.5 or x0.5 are, nor off or auto"}
MAX_PROMPT = 10_000
MAX_TEMPERATURES = 8


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
        if (name, value) == ("clip", "auto"):
            return replace(self, clip_auto=True)
        by_hand = {"clip_auto": False} if name == "clip" else {}
        return replace(self, **{name: checked(name, value)}, **by_hand)  # type: ignore[arg-type]

    def scaled(self, name: str, factor: float) -> "Knobs":
        """These knobs with one of them multiplied; relative turns start from the engine's own truth."""
        return self.turned(name, scaled(name, getattr(self, name), factor))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wrote for a knob: a value, or a factor of the value in force."""

    value: Value = 0.0
    factor: float | None = None

    def of(self, name: str, now: float) -> Value:
        """The value that it comes to where `now` is in force. Raises Refused with the bound that was crossed."""
        if (name, self.value) == ("clip", "auto"):
            return self.value
        return checked(name, self.value if self.factor is None else scaled(name, now, self.factor))


def wish(name: str, text: str) -> Wish:
    """`0.001` or `x0.5`, for a clip also `off` and `auto`: the same words in every place. Raises UsageError."""
    text = text.strip()
    if name in SCALED and text.startswith("x"):
        return Wish(factor=number_in(name, text[1:]))
    if name == "clip" and text in ("off", "auto"):
        return Wish(0.0 if text == "off" else text)
    if name == "temperature":
        return Wish(tuple(number_in(name, part) for part in text.split(",")))
    return Wish(number_in(name, text))


def number_in(name: str, text: str) -> float:
    """The number that a person wrote, `1,000` and `1_000` too. Raises UsageError naming the knob or command."""
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise UsageError(f"{name}: {text!r} is not a number{EXAMPLES.get(name, '')}") from None


def whole(name: str, text: str) -> int:
    """The whole number that a person wrote. Raises UsageError naming the knob or command."""
    number = number_in(name, text)
    if not number.is_integer():
        raise UsageError(f"{name}: {text!r} is not a whole number")
    return int(number)


def scaled(name: str, old: float, factor: float) -> float:
    """A knob's value times a factor. Raises Refused."""
    if name not in SCALED:
        raise Refused(f"{name} cannot be scaled; set it to a value")
    if not (math.isfinite(factor) and factor > 0):
        raise Refused(f"{name} x{factor:g}: the factor must be a finite number above 0")
    if name == "clip" and old == 0:
        raise Refused("clip is off, so there is nothing to scale; set it to a value")
    return old * factor


def checked(name: str, value: Value) -> Value:
    """The value in the knob's own type, or Refused naming the knob and its range."""
    if name == "prompt":
        if not isinstance(value, str):
            raise Refused("prompt must be text")
        if len(value) > MAX_PROMPT:
            raise Refused(f"prompt of {len(value)} characters is longer than {MAX_PROMPT}")
        return value
    if name not in BOUNDS:
        raise Refused(f"there is no knob called {name!r}; there are {', '.join(BOUNDS)}, prompt")
    if name == "temperature":
        values = value if isinstance(value, tuple) else (value,)
        if not 1 <= len(values) <= MAX_TEMPERATURES:
            raise Refused(f"temperature takes 1 to {MAX_TEMPERATURES} values")
        return tuple(_in_bounds(name, v) for v in values)
    number = _in_bounds(name, value)
    return int(number) if name == "steps" else number


def _in_bounds(name: str, value: object) -> float:
    bounds = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"{name} {value!r} is not a finite number")
    if not bounds.low <= value <= bounds.high:
        raise Refused(f"{name} {value:g} is outside {bounds.low:g} to {bounds.high:g}")
    return float(value)
