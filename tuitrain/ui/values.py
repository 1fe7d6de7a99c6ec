"""What a person types or steps through, as numbers, and what they would do. Sends nothing."""

import math

from tuitrain.diagnosis.clip_advisor import medians, touched
from tuitrain.diagnosis.guard import LR_FACTORS
from tuitrain.errors import TuitrainError
from tuitrain.knobs import Value, Wish, wish
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number, percent

RUNGS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)


def rung(value: float, by: int) -> float:
    """The next number of the ladder 1, 1.25, 1.6 … above or below; from off, up is 1 and down stays off."""
    if value <= 0:
        return 1.0 if by > 0 else 0.0
    power = math.floor(math.log10(value) + 1e-9)
    ladder = [float(f"{r * 10.0**p:.6g}") for p in (power - 1, power, power + 1) for r in RUNGS]
    if by > 0:
        return next(r for r in ladder if r > value * 1.001)
    return next(r for r in reversed(ladder) if r < value * 0.999)


WILD = 10.0
"""Times the rate in force from which a rate is asked about once."""


def read(name: str, text: str, now: float) -> tuple[Wish | None, Value, str]:
    """What is meant and what it comes to where `now` is in force; or None, `now` and why it cannot be."""
    try:
        asked = wish(name, text)
        return asked, asked.of(name, now), ""
    except TuitrainError as error:
        return None, now, str(error)


def wild(lr: Value, now: float) -> str:
    """A question where a learning rate is far above the one in force; else empty."""
    if not isinstance(lr, float) or not now or lr < WILD * now * (1 - 1e-9):
        return ""
    return f"{number(lr, 4)} is {number(lr / now)} times the present {number(now, 4)}: enter again if you mean it"


def shown(name: str, value: float, auto: bool = False) -> str:
    """A knob's value as it would be typed."""
    if name == "clip" and (auto or not value):
        return "auto" if auto else "off"
    return number(value, 6)


def proposed(state: RunState) -> dict[str, str]:
    """The remedy's knobs after an alarm that still stands, as they would be typed; empty where all is well.

    A factor, because the rate is a part of the smaller of the point's and the present one, whatever point is chosen.
    """
    health = state.health
    lapsed = health.standing is not None and health.standing.lapsed
    if not (health.alarm or lapsed) or health.verdict.get("cause") == "bad_data":  # then the step size is not to blame
        return {}
    values = {"lr": f"x{number(LR_FACTORS[0])}"}
    if health.advice:
        values["clip"] = shown("clip", float(health.advice["value"]))
    return values


def would_have_clipped(state: RunState, clip: float) -> str:
    """What a clip would have done to the last 500 steps."""
    norms = state.grad_norm.last(500)
    if not len(norms):
        return "no steps yet to compare with"
    if clip <= 0:
        return "off: no step is clipped"
    times = medians(clip, norms)
    size = f"; it is {number(times, 2)} medians" if math.isfinite(times) else ""
    return f"{number(clip, 4)} would have clipped {percent(touched(clip, norms))} of the last {len(norms)} steps{size}"
