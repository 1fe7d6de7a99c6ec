"""Compares the arms of a race step by step, and says in words what it saw, how far it could see, and what to take.

Every arm has read the same batches, so differences of losses are far less noisy than losses. Those of neighbouring
steps are alike (streams carry their hidden state on), so the error comes from the means of blocks.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuitrain import troubles
from tuitrain.diagnosis.growth import LARGE
from tuitrain.diagnosis.growth import LEAST as GROWS
from tuitrain.futures.reading import BROKEN, CUT, WHOLE, Reading
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.telemetry.units import BITS, loss_words, many, number

ADAPTS = 0.2
"""The share of an arm, from its begin, that is left out: there its moments still adapt to its knobs."""
BLOCKS, SHORTEST = 20, 5
"""Blocks of a comparison, and the fewest steps of one."""
SURE = 2.0
"""Standard errors from which a difference counts as seen."""
FLOOR = 0.003
"""Nats below which no difference counts as seen: two arms of 600 steps whose rates differ by one or two per cent, which
is no difference, ended up to 0.0018 nats apart in validation, eight times the error that the text explains."""
AHEAD = 10_000
"""Steps within which a radius that grows on as it does must reach the limit to count as a sign: what collapsed by
itself passed it 3,000 to 11,000 steps before."""
LENGTHS = 10
"""How many times its own length an arm is thought on: the weights of a young run slow down."""
SMALL_GAIN = 0.02
"""Nats by which a lower rate looks better at first and is not, later."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two losses, nats per character, with its standard error."""

    value: float
    error: float

    @property
    def seen(self) -> bool:
        """Whether it is more than its error and the chance of another way through the weights explain."""
        return abs(self.value) > max(SURE * self.error, FLOOR)

    def words(self, unit: LossUnit) -> str:
        """`-0.012 ± 0.004`, in the run's unit."""
        if not math.isfinite(self.value):
            return "-"
        return f"{self.value * unit.scale:+.3f} ± {self.error * unit.scale:.3f}"


NONE = Difference(math.nan, math.nan)


def of_steps(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Mean difference of two arms' losses over the steps that both have, without the first that still adapt."""
    count = min(len(one), len(other))
    begin = math.ceil(ADAPTS * count)
    differences = np.array(one[begin:count], dtype=float) - np.array(other[begin:count], dtype=float)
    return _of_blocks(differences, max(SHORTEST, len(differences) // BLOCKS))


def of_stretches(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Mean difference of two validations over the same stretches of text."""
    if len(one) != len(other):
        return NONE
    return _of_blocks(np.array(one, dtype=float) - np.array(other, dtype=float), 1)


def _of_blocks(differences: NDArray[np.float64], length: int) -> Difference:
    blocks = len(differences) // length
    if blocks < 2 or not np.isfinite(differences).all():
        return NONE
    means = differences[len(differences) - blocks * length:].reshape(blocks, length).mean(1)
    return Difference(float(means.mean()), float(means.std(ddof=1) / math.sqrt(blocks)))


def reaches(reading: Reading) -> float:
    """Steps after which the radius, at its present pace, has the size from which gradients explode; inf if never."""
    radius, pace = reading.radius, reading.pace
    if not math.isfinite(pace) or pace < GROWS * radius:
        return math.inf
    return max(0.0, LARGE - radius) / pace * 1000


def signs(reading: Reading) -> list[str]:
    """What speaks against an arm beside its loss, in words."""
    found = [f"ended by an error: {reading.message}"] if reading.state == BROKEN else []
    rules = list(dict.fromkeys(rule for rule, _, _ in reading.signs))
    found += [next(sentence for rule, _, sentence in reading.signs if rule == name) for name in rules]
    if reading.skipped:
        found.append(f"{many(reading.skipped, 'step')} without a finite loss or gradient")
    left = reaches(reading)
    if left <= _horizon(reading) and troubles.GROWTH.name not in rules:
        found.append(f"its radius is {number(reading.radius, 2)} and grows towards {LARGE:.0f}, where gradients begin "
                     + (f"to explode, in about {round_steps(left)} steps" if left else "to explode"))
    return found


def _horizon(reading: Reading) -> float:
    """Steps that an arm's growth is thought on for a sign."""
    return min(AHEAD, LENGTHS * reading.done)


def round_steps(steps: float) -> str:
    """A number of steps that is known to a digit or two."""
    return f"{int(float(f'{steps:.1g}')):,}"


@dataclass(frozen=True, slots=True)
class Row:
    """An arm beside `as it is`, the first."""

    reading: Reading
    loss: Difference
    validation: Difference
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A race: its rows in their order, the arm to take and the runner-up (None: there is none), and what was seen."""

    rows: tuple[Row, ...]
    taken: Row | None
    runner_up: Row | None
    lead: Difference
    """Of the validation of the two."""
    sentences: tuple[str, ...]
    advice: str
    """The one of the sentences that names the arm to take; empty if there is none."""


def compare(readings: Sequence[Reading], unit: LossUnit = BITS) -> Outcome:
    """Judge the arms that have trained; the first of them is the one to compare with."""
    base = readings[0]
    rows = tuple(Row(reading, NONE if reading is base else of_steps(reading.losses, base.losses),
                     NONE if reading is base else of_stretches(reading.stretches, base.stretches),
                     tuple(signs(reading))) for reading in readings)
    whole = [row for row in rows if row.reading.state == WHOLE and math.isfinite(row.reading.validation)]
    clean = sorted((row for row in whole if not row.signs), key=lambda row: row.reading.validation)
    if rows[0] in clean and not clean[0].validation.seen:  # nothing is to be changed for what cannot be seen
        clean = [rows[0], *(row for row in clean if row is not rows[0])]
    taken = clean[0] if clean else None
    runner_up = clean[1] if len(clean) > 1 else None
    lead = of_stretches(taken.reading.stretches, runner_up.reading.stretches) if taken and runner_up else NONE
    advised = tuple(_advice(rows, taken, runner_up, lead, unit))
    return Outcome(rows, taken, runner_up, lead, (*_sight(rows), *advised), advised[0] if taken is not None else "")


def _sight(rows: Sequence[Row]) -> Iterator[str]:
    steps = max(row.reading.done for row in rows)
    broke = [row for row in rows if row.reading.alarms or row.reading.state == BROKEN]
    if not broke:
        yield f"no arm broke within {steps:,} steps; what ruins a run slowly takes thousands"
    for row in rows:
        for sign in row.signs:
            yield f"{row.reading.arm.name}: {sign}"
    for row in rows:
        left = reaches(row.reading)
        if _horizon(row.reading) < left < 10 * AHEAD:
            yield f"{row.reading.arm.name}: its radius grows towards {LARGE:.0f} in about {round_steps(left)} steps"
        if row.reading.state == CUT:
            yield f"{row.reading.arm.name}: cut after {many(row.reading.done, 'step')}, not compared for a choice"


def _advice(rows: Sequence[Row], taken: Row | None, runner_up: Row | None, lead: Difference,
            unit: LossUnit) -> Iterator[str]:
    base = rows[0]
    if taken is None:
        yield ("no arm is without a sign of trouble: go back to an earlier point (`--from`), or try lower rates"
               if any(row.signs for row in rows) else "no arm was trained to its end: nothing is recommended")
        return
    name = taken.reading.arm.name
    lowest = "the lowest of those without a sign of trouble"
    if runner_up is not None and runner_up.reading.validation < taken.reading.validation:
        lowest = "and none without a sign of trouble is seen to be lower"
    yield f"recommended: {name}, validation {loss_words(taken.reading.validation, unit)}, {lowest}"
    if runner_up is not None:
        other = runner_up.reading.arm.name
        if lead.seen:
            yield f"runner-up: {other}; validation differs by {lead.words(unit)}"
        else:
            yield f"no difference seen to the runner-up, {other}: {lead.words(unit)} of validation"
    lower = taken.reading.arm.lr.startswith("x") and float(taken.reading.arm.lr[1:]) < 1
    if lower and not base.signs and abs(taken.validation.value) < SMALL_GAIN:
        yield ("a lower rate looks better in its first few hundred steps, for it averages over them; over thousands "
               "that gain is often gone")
