"""The rows of restore points from which a person chooses: what differs between them. Knows no widget."""

import math
from collections.abc import Iterable, Sequence

from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.telemetry.lineage import Lineage
from tuitrain.telemetry.story import Point
from tuitrain.telemetry.units import duration, loss_text, number, printable
from tuitrain.telemetry.validation import Measurement, Validation

NEAR, NEAR_SHARE = 50, 0.1
"""Steps, or share of the point's step, within which a validation loss counts as one near the point."""
PART = "∙ part"
"""The head of the losses on a part of the validation text, by the sign that they have in the plot."""
Table = tuple[list[str], list[tuple[str, list[str]]]]


def table(points: Sequence[Point], validation: Validation, lineage: Lineage, unit: LossUnit, now: float) -> Table:
    """Return the heads and, for each point, its name and cells; `now` is a Unix time.

    Validation losses are those nearest to a point on its own line, `~` if not of its step itself: of the whole text,
    and of the small part that is measured oftener, each in a column of its own if there is one.
    """
    near = {part: {p.name: _nearest(p, [m for m in validation.taken if m.part == part], lineage) for p in points}
            for part in (False, True)}
    shown = [(head, near[part]) for head, part in (("val", False), (PART, True)) if any(near[part].values())]
    branches = len({p.branch for p in points}) > 1
    heads = ["step", *(["br."] if branches else []), "age", "train", *(head for head, _ in shown), "lr", "clip", "kept"]
    rows = []
    for p in points:
        train = loss_text(p.train, unit) if math.isfinite(p.train) else "-"
        cells = [f"{p.step:,}", *([str(p.branch)] if branches else []),
                 duration(now - p.time) if p.time else "-", train,
                 *(_loss(p, found[p.name], unit) for _, found in shown),
                 number(p.lr), number(p.clip) if p.clip else "off", _kept(p)]
        rows.append((p.name, cells))
    return heads, rows


def _nearest(point: Point, measured: Iterable[Measurement], lineage: Lineage) -> Measurement | None:
    """Return the measurement nearest to a point on the line that led to it or goes on from it."""
    ends = {s.branch: s.last for s in lineage.path((point.branch, point.step))}
    room = max(NEAR, NEAR_SHARE * point.step)
    here = [m for m in measured if abs(m.step - point.step) <= room and math.isfinite(m.loss)
            and (m.branch == point.branch or m.step <= ends.get(m.branch, -1))]
    return min(here, key=lambda m: abs(m.step - point.step), default=None)


def _loss(point: Point, found: Measurement | None, unit: LossUnit) -> str:
    if found is None:
        return "-"
    return ("" if found.step == point.step else "~") + loss_text(found.loss, unit)


def _kept(point: Point) -> str:
    """Say where a point is and why it was kept, if not as every one is; and whether training was broken by then."""
    words = ["disk" if point.on_disk else "memory"]
    words += [printable(point.reason)] if point.reason not in ("", e.INTERVAL) else []
    words += [] if point.healthy else ["broken"]
    return ", ".join(words)
