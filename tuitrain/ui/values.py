"""What a person types or steps through, as numbers, and what they would do. Sends nothing."""

import math

from tuitrain.diagnosis.clip_advisor import medians, touched
from tuitrain.errors import Refused
from tuitrain.knobs import checked
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


def read(name: str, text: str) -> tuple[float | None, str]:
    """(the number, empty) or (None, why not)."""
    try:
        value = float(text)
        checked(name, value)
    except ValueError:
        return None, "a number, please"
    except Refused as error:
        return None, str(error)
    return value, ""


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
