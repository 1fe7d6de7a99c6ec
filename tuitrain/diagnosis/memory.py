"""The analyst's record of recent steps, measurements and probes, and the signs derived from them."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from tuitrain import specs
from tuitrain.diagnosis.acts import Raised
from tuitrain.diagnosis.detector import Finding
from tuitrain.diagnosis.signs import Signs
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol import groups
from tuitrain.telemetry.readings import Layer, Probe

READINGS, LOSSES = 60, 400
"""How many measurements and losses a spontaneous trouble is compared with; after an act it is the time before it."""
KEPT = 6
"""Multiple of these numbers that is stored."""
QUICKLY = 150
"""Steps within which too large steps make the weights grow."""


class Memory:
    """Bounded queues of (step, value) pairs, oldest first."""

    def __init__(self) -> None:
        self.norms: deque[tuple[int, float]] = deque(maxlen=1200)
        self.losses: deque[tuple[int, float]] = deque(maxlen=KEPT * LOSSES)
        self.shares: deque[tuple[int, float, float]] = deque(maxlen=KEPT * LOSSES)
        """(step, squared gradient norm of the recurrent layers, squared norm of all parameters)."""
        self.readings: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT * READINGS)
        self.probes: deque[Probe] = deque(maxlen=8)
        self.replayed: f.BlackBoxKept | None = None
        self.cell = specs.cell({})
        """That of the run, whose gates the probes name."""

    def back_to(self, step: int) -> None:
        """Discard everything after a step, after a rollback to it."""
        for numbers in (self.norms, self.losses, self.shares, self.readings, self.probes):
            while numbers and _step_of(numbers[-1]) > step:
                numbers.pop()

    def learned(self, event: e.StepsDone) -> None:
        """Store the share of the recurrent layers in the gradients of the steps that have group norms."""
        if not any(groups.is_layer(name) for name in event.norms):
            return  # somebody's own model, with other group names
        first = event.first_step + -(event.first_step - 1) % event.every
        for i, norms in enumerate(zip(*event.norms.values(), strict=False)):
            squares = dict(zip(event.norms, (norm * norm for norm in norms), strict=True))
            total = math.fsum(squares.values()) if all(map(math.isfinite, squares.values())) else math.nan
            if total > 0:
                part = math.fsum(square for name, square in squares.items() if groups.is_layer(name))
                self.shares.append((first + i * event.every, part, total))

    def largest(self, step: int) -> float:
        """Return the largest gradient norm after a step; inf if one was not finite."""
        return max((norm if math.isfinite(norm) else math.inf for at, norm in self.norms if at > step), default=0.0)

    def read(self, event: f.Measured) -> Iterator[tuple[int, dict[str, Any]]]:
        """Store measurements and yield them one by one, each with its step."""
        layers = [name for name in event.weights if groups.is_layer(name)]
        for i in range(len(next(iter(event.weights.values()), ()))):
            step = event.first_step + i * event.every
            recurrent = [values[i] for name, values in event.rms.items() if groups.is_recurrent(name)]
            reading: dict[str, Any] = {"each": [event.weights[n][i] for n in layers],
                       "update": [event.update_ratio[n][i] for n in layers],
                       "rms": max(recurrent, default=math.nan)}
            self.readings.append((step, reading))
            yield step, reading

    def signs(self, alarm: Finding, optimizer: str, spikes: deque[int], median: float, skipped: int,
              most: float = math.inf, raised: tuple[Raised, ...] = ()) -> Signs:
        """Return the signs around an alarm's onset. `most` is how many times longer a spike can make a step.

        After acts that `raised` the step size, everything is compared with the time before them.
        """
        onset = min([alarm.onset, *(act.first + 1 for act in raised)])
        signs = Signs(optimizer, alarm.rule, reason=alarm.sentence, raised=raised, skipped=skipped)
        losses = list(self.losses) if raised else list(self.losses)[-LOSSES:]
        before = _good(value for step, value in losses if step < onset)
        since = _good(value for step, value in losses if step >= onset)
        if len(before) and len(since):
            signs.loss_jump = float(np.mean(since[-20:]) - np.median(before[-200:]))
        norms = _good(value for step, value in self.norms if step < onset - 20)
        peaks = _good(value for step, value in self.norms if step >= onset - 20)
        if len(norms) and len(peaks):
            middle = float(np.median(norms))
            signs.spike, signs.norm_jump = float(peaks.max()) / middle, float(np.median(peaks[20:] if len(peaks) > 25
                                                                                        else peaks)) / middle
        signs.early_spikes = sum(onset - 4000 <= step < onset - 20 for step in spikes)
        box = self.replayed
        if box is not None and box.onset == alarm.onset and len(box.replayed) == 2:
            signs.replay_jump = box.replayed["onset"] - box.replayed["usual"]
        there = [(part, total) for step, part, total in self.shares if step >= onset]
        if there:
            signs.recurrent_share = math.fsum(part for part, _ in there) / math.fsum(total for _, total in there)
        self._from_readings(signs, onset, median, most)
        self._from_probes(signs, onset)
        return signs

    def _from_readings(self, signs: Signs, onset: int, median: float, most: float) -> None:
        readings = list(self.readings) if signs.raised else list(self.readings)[-READINGS:]
        old = [r for step, r in readings if step < onset - 5][-READINGS:]
        since = [r for step, r in readings if step >= onset]
        large = self._first_large(onset, median)
        if readings and signs.rule is not None and signs.rule.stuck:
            signs.unchanged = bool(np.nanmax(np.median([r["update"] for _, r in readings], axis=0)) < 1e-5)
        if not old or not since:
            return
        usual = np.maximum(np.median([r["update"] for r in old], axis=0), 1e-12)

        def jump(readings: list[dict[str, Any]]) -> float:
            return float(np.nanmax(np.max([r["update"] for r in readings], axis=0) / usual))

        if jump(since) > most:
            large = math.inf  # no spike makes steps this long, so those after a spike count, too
        new = [(step, r) for step, r in readings if onset <= step < large]
        if not new:
            return
        signs.update_jump = jump([r for _, r in new])
        signs.surprise = max((r["rms"] for r in since if math.isfinite(r["rms"])), default=None)
        then = np.array(old[-1]["each"])
        quick = [r["each"] for step, r in new if step < onset + QUICKLY]
        if quick:
            signs.growth = float(np.nanmax(np.max(quick, axis=0) / np.maximum(then, 1e-12) - 1))

    def _first_large(self, onset: int, median: float) -> float:
        """Return the first step around an onset whose norm exceeds ten medians; it explains the updates after it."""
        usual = 10 * median
        return next((step for step, norm in self.norms if step >= onset - 20 and norm > usual), math.inf)

    def _from_probes(self, signs: Signs, onset: int) -> None:
        old = [p for p in self.probes if p.step < onset]
        new = [p for p in self.probes if p.step >= onset]
        if new:
            layers = new[-1].layers
            signs.dead = max(layer.dead for layer in layers)
            signs.saturation = max(_pinned(layer) for layer in layers)
            signs.worst_flow = max(layer.worst for layer in layers)
            signs.flow = max(layer.first for layer in layers)
        if new and old:
            jump = new[-1].loss - old[-1].loss
            signs.val_jump = jump if math.isfinite(jump) else None
            signs.saturation_jump = max((b.saturation[gate] - a.saturation[gate]
                                         for a, b in zip(old[-1].layers, new[-1].layers, strict=True)
                                         for gate in self.cell.writes), default=None)


def _step_of(pair: Any) -> int:
    return int(pair.step if isinstance(pair, Probe) else pair[0])


def _pinned(layer: Layer) -> float:
    """Return the share of saturated gate activations, over all gates."""
    return float(np.mean(list(layer.saturation.values())))


def _good(values: Iterator[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.fromiter(values, float)
    return found[np.isfinite(found)]
