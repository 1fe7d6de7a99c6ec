"""A race as a table, as sentences and as JSON. Knows no terminal."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuitrain.futures.comparing import Difference, Outcome, Row, reaches
from tuitrain.futures.race import Plan
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.protocol.codec import plain
from tuitrain.telemetry.units import BITS, loss_text, number, percent, safe

HEADS = ("arm", "loss to as it is", "validation", "to as it is", "tail", "largest", "clipped", "update", "weights",
         "radius", "signs")
SPARED = ("update", "weights", "tail", "largest", "clipped", "validation")
"""Columns that a narrow terminal goes without, the first first."""
SAMPLE = 160
"""Characters of each arm's sample that are shown."""


def table(outcome: Outcome, unit: LossUnit = BITS, width: int = 10**6) -> list[str]:
    """Return the table's lines: a row for each arm; losses in the run's unit, the largest norm in medians.

    Where `width` columns are too few, those that matter least are left out.
    """
    rows = [HEADS, *(_cells(row, unit) for row in outcome.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    shown = list(range(len(HEADS)))
    for name in SPARED:
        if sum(widths[i] + 2 for i in shown) - 2 > width:
            shown.remove(HEADS.index(name))
    return ["  ".join(row[i].rjust(widths[i]) if i else row[i].ljust(widths[i]) for i in shown).rstrip()
            for row in rows]


def _cells(row: Row, unit: LossUnit) -> tuple[str, ...]:
    reading = row.reading
    radius = f"{number(reading.radii[0][1], 2)}→{number(reading.radius, 2)}" if reading.radii else "-"
    return (reading.arm.name, row.loss.words(unit),
            loss_text(reading.validation, unit) if math.isfinite(reading.validation) else "-",
            row.validation.words(unit), _or_none(reading.tail), _or_none(reading.largest),
            percent(reading.share_clipped), _or_none(reading.update),
            f"{100 * reading.growth:+.1f} %" if math.isfinite(reading.growth) else "-", radius,
            ", ".join(dict.fromkeys(rule for rule, _, _ in reading.signs)) or ("yes" if row.signs else "none"))


def _or_none(value: float) -> str:
    return number(value, 2) if not math.isnan(value) else "-"


def words(outcome: Outcome) -> Iterator[str]:
    """Yield what was seen and what to take, then the begin of each arm's sample, drawn with the same seed."""
    yield from outcome.sentences
    for row in outcome.rows:
        if row.reading.sample:
            yield f"{row.reading.arm.name}: “{safe(row.reading.sample[:SAMPLE])}”"


def to_json(made: Plan, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Return everything as plain JSON; losses in nats per character."""
    return {"step": made.point.step, "steps": made.steps, "folder": str(folder),
            "arms": [_row(row) for row in outcome.rows],
            "recommended": outcome.taken.reading.arm.name if outcome.taken else None,
            "runner_up": outcome.runner_up.reading.arm.name if outcome.runner_up else None,
            "lead": _difference(outcome.lead), "sentences": list(outcome.sentences)}


def _row(row: Row) -> dict[str, Any]:
    reading = row.reading
    numbers = {name: plain(getattr(reading, name)) for name in (
        "done", "state", "validation", "tail", "largest", "share_clipped", "update", "growth", "radius", "pace",
        "skipped", "alarms", "losses", "norms", "radii", "sample", "seconds", "params_sha256")}
    return {"arm": reading.arm.name, "lr": reading.arm.lr, "clip": reading.arm.clip,
            "loss_difference": _difference(row.loss), "validation_difference": _difference(row.validation),
            "reaches": plain(reaches(reading)), "signs": list(row.signs), **numbers}


def _difference(difference: Difference) -> dict[str, Any]:
    return {"value": plain(difference.value), "error": plain(difference.error), "seen": difference.seen}
