"""Converts typed values to numbers and describes their effect. Sends nothing."""

import math

from tuitrain import troubles
from tuitrain.diagnosis.clip_advisor import medians, touched
from tuitrain.diagnosis.remedy import Remedy, remedy
from tuitrain.errors import TuitrainError
from tuitrain.knobs import AUTO, KNOBS, Value, Wish, wish
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.story import Point
from tuitrain.telemetry.units import many, number, percent

RUNGS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)


def rung(value: float, by: int) -> float:
    """Return the next number above or below in the ladder 1, 1.25, 1.6 …; above off is 1, below off is off."""
    if value <= 0:
        return 1.0 if by > 0 else 0.0
    power = math.floor(math.log10(value) + 1e-9)
    ladder = [float(f"{r * 10.0**p:.6g}") for p in (power - 1, power, power + 1) for r in RUNGS]
    if by > 0:
        return next(r for r in ladder if r > value * 1.001)
    return next(r for r in reversed(ladder) if r < value * 0.999)


WILD = 10.0
"""A learning rate this many times the present one has to be confirmed."""


def read(name: str, text: str, now: float) -> tuple[Wish | None, Value, str]:
    """Return (wish, its value if `now` is in force, ""), or (None, `now`, the error)."""
    try:
        asked = wish(name, text)
        return asked, asked.of(name, now), ""
    except TuitrainError as error:
        return None, now, str(error)


def wild(lr: Value, now: float) -> str:
    """Return a question if a learning rate is far above the one in force, else an empty text."""
    if not isinstance(lr, float) or not now or lr < WILD * now * (1 - 1e-9):
        return ""
    return f"{number(lr, 4)} is {number(lr / now)} times the present {number(now, 4)}: enter again if you mean it"


def shown(name: str, value: float, auto: bool = False) -> str:
    """Return a knob's value as it would be typed."""
    spec = KNOBS[name]
    if auto and spec.auto:
        return AUTO
    if spec.zero and not value:
        return spec.zero
    return number(value, 6)


def remedy_of(state: RunState) -> Remedy | None:
    """Return the remedy for the present trouble; None if there is none, or if going back does not help."""
    health = state.health
    verdict, advice = health.verdict, health.advice
    trouble = health.alarm or (verdict if verdict is not None and verdict.alarming else None)
    if trouble is None or trouble.branch != state.branch:  # answered by a rollback already
        return None
    cause = "" if verdict is None else verdict.cause
    onset = trouble.onset if verdict is None else verdict.onset
    spikes = [(warning.branch, warning.onset) for warning in health.warnings if troubles.rule(warning.rule).spike]
    return remedy(cause, (state.branch, onset), spikes, state.lineage.holds,
                  clip=float(state.knobs.get("clip") or 0),
                  advised=(advice.value, advice.low) if advice is not None else None)


def remedy_point(state: RunState, found: Remedy) -> Point | None:
    """Return the restore point of a remedy; None if there is none from before the trouble."""
    return found.point(point for point in state.story.points.values()
                       if state.lineage.holds(point.branch, point.step))


def remedy_lines(found: Remedy, point: Point, state: RunState) -> list[str]:
    """Return lines that describe exactly what the remedy will do."""
    lr, clip = float(state.knobs.get("lr") or 0), float(state.knobs.get("clip") or 0)
    place = f"{'on disk' if point.on_disk else 'in memory'}, branch {point.branch}"
    lines = [f"back to step {point.step:,} ({place}), {many(found.onset - point.step, 'step')} before the trouble",
             f"{many(state.step - point.step, 'step')} since then are left; undo returns to them"]
    if found.past:
        lines.append(f"{many(found.skipped(point.step), 'batch', 'batches')} are left out: the text up to step "
                     f"{found.past:,} of before; lr stays {number(lr)}, clip stays {shown('clip', clip)}")
        return lines
    auto = bool(state.knobs.get("clip_auto"))
    words = f"clip stays {shown('clip', clip, auto)}" if found.clip is None else \
        f"clip {shown('clip', clip, auto)} → {number(found.clip)}"
    lines.append(f"lr {number(lr, 4)} → {number(found.lr(point.lr, lr), 4)} · {words}")
    return lines


def proposed(state: RunState) -> dict[str, str]:
    """Return the remedy's knobs for an alarm that still stands, as they would be typed; empty without one.

    The rate is a factor, because it applies to the smaller of the present rate and that of the point chosen.
    """
    health = state.health
    lapsed = health.standing is not None and health.standing.lapsed
    found = remedy_of(state) if health.broken or lapsed else None
    if found is None or found.lr_factor is None:
        return {}
    values = {"lr": f"x{number(found.lr_factor)}"}
    if found.clip is not None:
        values["clip"] = shown("clip", found.clip)
    return values


def would_have_clipped(state: RunState, clip: float) -> str:
    """Describe what a clip would have done to the last 500 steps."""
    norms = state.grad_norm.last(500)
    if not len(norms):
        return "no steps yet to compare with"
    if clip <= 0:
        return "off: no step is clipped"
    times = medians(clip, norms)
    size = f"; it is {number(times, 2)} medians" if math.isfinite(times) else ""
    return f"{number(clip, 4)} would have clipped {percent(touched(clip, norms))} of the last {len(norms)} steps{size}"
