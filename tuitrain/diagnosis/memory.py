"""What the analyst remembers of a run's recent steps, readings and probes, and the signs it reads off them."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from tuitrain.diagnosis.detector import Finding
from tuitrain.diagnosis.signs import Signs
from tuitrain.protocol import findings as f

READINGS = 60


class Memory:
    """Bounded; (step, value) pairs, oldest first."""

    def __init__(self) -> None:
        self.norms: deque[tuple[int, float]] = deque(maxlen=1200)
        self.losses: deque[tuple[int, float]] = deque(maxlen=400)
        self.readings: deque[tuple[int, dict[str, Any]]] = deque(maxlen=READINGS)
        self.probes: deque[f.Probed] = deque(maxlen=8)
        self.replayed: f.BlackBoxKept | None = None

    def back_to(self, step: int) -> None:
        """A rollback: what came after is another branch."""
        for numbers in (self.norms, self.losses, self.readings, self.probes):
            while numbers and _step_of(numbers[-1]) > step:
                numbers.pop()

    def read(self, event: f.Measured) -> Iterator[tuple[int, dict[str, Any]]]:
        """Take readings in, one by one."""
        layers = [name for name in event.weights if name.startswith("layer")]
        for i in range(len(next(iter(event.weights.values()), ()))):
            step = event.first_step + i * event.every
            recurrent = [values[i] for name, values in event.rms.items() if name.startswith("W_hh")]
            reading: dict[str, Any] = {"each": [event.weights[n][i] for n in layers],
                       "update": [event.update_ratio[n][i] for n in layers],
                       "rms": max(recurrent, default=math.nan)}
            self.readings.append((step, reading))
            yield step, reading

    def signs(self, alarm: Finding, optimizer: str, spikes: deque[int], median: float, skipped: int,
              most: float = math.inf) -> Signs:
        """What is known around an alarm's onset. `most`: how much longer than usual a spike can make a step at most."""
        onset = alarm.onset
        signs = Signs(optimizer, alarm.rule, alarm.since, skipped=skipped)
        before = _good(value for step, value in self.losses if step < onset)
        since = _good(value for step, value in self.losses if step >= onset)
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
        if box is not None and box.onset == onset and len(box.replayed) == 2:
            signs.replay_jump = box.replayed["onset"] - box.replayed["usual"]
        self._from_readings(signs, onset, median, most)
        self._from_probes(signs, onset)
        return signs

    def _from_readings(self, signs: Signs, onset: int, median: float, most: float) -> None:
        old = [r for step, r in self.readings if step < onset - 5]
        since = [r for step, r in self.readings if step >= onset]
        new = [r for step, r in self.readings if onset <= step < self._first_large(onset, median)]
        if self.readings and signs.rule == "no_progress":
            signs.unchanged = bool(np.nanmax(np.median([r["update"] for _, r in self.readings], axis=0)) < 1e-5)
        if not old or not since:
            return
        usual = np.maximum(np.median([r["update"] for r in old], axis=0), 1e-12)

        def jump(readings: list[dict[str, Any]]) -> float:
            return float(np.nanmax(np.max([r["update"] for r in readings], axis=0) / usual))

        if jump(since) > most:
            new = since  # steps this long are no spike's doing, so those after a spike count, too
        if not new:
            return
        signs.update_jump = jump(new)
        signs.surprise = max((r["rms"] for r in since if math.isfinite(r["rms"])), default=None)
        then = np.array(old[-1]["each"])
        signs.growth = float(np.nanmax(np.max([r["each"] for r in new], axis=0) / np.maximum(then, 1e-12) - 1))

    def _first_large(self, onset: int, median: float) -> float:
        """The first step around an onset whose norm is above ten medians: what the updates do after it, it did."""
        usual = 10 * median
        return next((step for step, norm in self.norms if step >= onset - 20 and norm > usual), math.inf)

    def _from_probes(self, signs: Signs, onset: int) -> None:
        old = [p for p in self.probes if p.step < onset]
        new = [p for p in self.probes if p.step >= onset]
        if new:
            layers = new[-1].layers
            signs.dead = max(layer["dead"] for layer in layers)
            signs.saturation = max(_pinned(layer) for layer in layers)
            signs.worst_flow = max(layer["worst"] for layer in layers)
            signs.flow = max(layer["first"] for layer in layers)
        if new and old:
            jump = new[-1].loss - old[-1].loss
            signs.val_jump = jump if math.isfinite(jump) else None
            signs.saturation_jump = max(max(b["saturation"][g] - a["saturation"][g] for g in ("g", "i"))
                                        for a, b in zip(old[-1].layers, new[-1].layers, strict=True))


def _step_of(pair: Any) -> int:
    return int(pair.step if isinstance(pair, f.Probed) else pair[0])


def _pinned(layer: Any) -> float:
    """Share of gate activations at their ends, all four gates together."""
    return float(np.mean(list(layer["saturation"].values())))


def _good(values: Iterator[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.fromiter(values, float)
    return found[np.isfinite(found)]
