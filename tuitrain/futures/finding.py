"""Finds a learning rate or a clip for a text on a scratch run that is thrown away. Knows no terminal.

The range test raises the rate from step to step (Smith 2017, arXiv 1506.01186): the loss falls the faster the higher
the rate, until steps are too long and it rises. The clip is read off the norms of a short run that is well.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain import specs
from tuitrain.charlstm import prepare, runtime
from tuitrain.charlstm.config import PRESETS, Config
from tuitrain.diagnosis.arms import Arm
from tuitrain.diagnosis.clip_advisor import ClipAdvice, advise, kick
from tuitrain.errors import TuitrainError
from tuitrain.futures.reading import Reading
from tuitrain.futures.training import SimpleAside
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import EpochEnded, Event
from tuitrain.run.directory import RunDirectory

LOW, HIGH = 1e-5, 1.0
"""The rates of the range test."""
MEMORY = 20
"""Steps that a loss of the range test is the mean of, about."""
BROKEN = 1.1
"""Times the lowest loss from which on training counts as broken."""
GIVEN_UP = 1.5
"""Times the lowest loss at which the test ends."""
SAFE = 10.0
"""The suggestion is so many times below the rate at which the loss was lowest: there the steps are just too long, and
a run makes thousands of them where the test makes tens."""
YOUNG = 200
"""Steps of a new run whose norms say nothing of later ones."""
QUIET: Mapping[str, Any] = {"on_divergence": "warn", "sample_every": 10**9, "evaluate_every": 10**9,
                            "checkpoint_every": 10**9, "snapshot_every": 10**9}
"""What a scratch run goes without."""
KICKS = (1.5, 2.5, 5.0, 10.0, 25.0, 100.0)


@dataclass(frozen=True, slots=True)
class RateCurve:
    """A range test: the rates, the smoothed loss at each in nats, and what follows; nan where nothing does."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    lowest: float
    """The rate at which the loss was lowest."""
    breaks: float
    """The rate from which on it was BROKEN times that; inf if at none."""
    suggested: float
    presets: Mapping[str, float]

    @property
    def sentence(self) -> str:
        """The suggestion and its reason, in words."""
        if not math.isfinite(self.suggested):
            return "the loss never fell: no rate can be suggested"
        breaks = (f"from {self.breaks:.2g} on it is {BROKEN:g} times that" if math.isfinite(self.breaks)
                  else "it did not break up to the end of the test")
        return (f"suggested: --lr {self.suggested:g}, a {SAFE:.0f}th of {self.lowest:.2g}, up to which the loss falls "
                f"({breaks}): a run makes thousands of steps where this made tens")


def range_test(given: Mapping[str, Any], steps: int, report: Callable[[str], None],
               told: Callable[[Reading], None] = lambda reading: None) -> RateCurve:
    """Train a new model with a rate that rises from LOW to HIGH. Raises TuitrainError."""
    rates = LOW * (HIGH / LOW) ** (np.arange(steps) / max(1, steps - 1))
    reading = _scratch({**given, "lr": LOW, "lr_schedule": "constant", "warmup": 0}, steps, report, told,
                       lambda step: float(rates[min(step, steps - 1)]), _gave_up)
    return of_losses(rates[: reading.done], np.array(reading.losses), _rates_of_presets(given))


def of_losses(rates: NDArray[np.float64], losses: NDArray[np.float64], presets: Mapping[str, float]) -> RateCurve:
    """Judge the losses at rising rates."""
    smooth = smoothed(losses)
    first = float(smooth[0]) if len(smooth) else math.nan
    at = int(np.nanargmin(smooth)) if len(smooth) and not np.isnan(smooth).all() else 0
    if not len(smooth) or not smooth[at] < 0.97 * first:
        return RateCurve(rates, smooth, math.nan, math.inf, math.nan, presets)
    later = np.flatnonzero(~(smooth[at:] < BROKEN * smooth[at]))
    breaks = float(rates[at + later[0]]) if len(later) else math.inf
    suggested = float(f"{rates[at] / SAFE:.1g}")
    return RateCurve(rates, smooth, float(rates[at]), breaks, suggested, presets)


def smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running means over about MEMORY steps, without the pull of their begin; nan from the first that is not finite."""
    mean, weight, found = 0.0, 0.0, []
    for loss in losses:
        mean, weight = mean + (float(loss) - mean) / MEMORY, weight + (1 - weight) / MEMORY
        found.append(mean / weight)
    return np.array(found)


def _gave_up(reading: Reading) -> bool:
    smooth = smoothed(np.array(reading.losses))
    if len(smooth) < 2 * MEMORY:
        return False
    return not bool(smooth[-1] < GIVEN_UP * float(np.nanmin(smooth)))


def _rates_of_presets(given: Mapping[str, Any]) -> dict[str, float]:
    shape = {name: given[name] for name in ("hidden", "optimizer") if name in given}
    found = {"auto, with an end": Config.of({**shape, "minutes": 1.0}).lr, "auto, without": Config.of(shape).lr}
    return found | {name: Config.of({"preset": name}).lr for name in PRESETS if name != "auto"}


@dataclass(frozen=True, slots=True)
class ClipFound:
    """The advice of a short run, its norms, the kick of spikes of some medians, and what presets' clips would be."""

    advice: ClipAdvice
    norms: NDArray[np.float64]
    kicks: Mapping[float, float]
    """Medians -> steps of the usual size; empty for an optimizer that is not Adam."""
    presets: Mapping[str, float]
    """The clip that a preset takes; auto takes the advice."""

    @property
    def p99(self) -> float:
        """The 99th percentile of the norms."""
        return float(np.percentile(self.norms, 99))

    def judged(self, clip: float) -> str:
        """What a clip would have done, in words."""
        times = clip / self.advice.median
        share = float(np.mean(self.norms > clip))
        what = ("never acts" if share == 0 and clip > 2 * self.advice.value else "acts on every step" if share > 0.9
                else f"acts on {100 * share:.2g} % of the steps")
        return f"{clip:g} is {times:.2g} medians: it {what}"


def find_clip(given: Mapping[str, Any], steps: int, report: Callable[[str], None],
              told: Callable[[Reading], None] = lambda reading: None) -> ClipFound:
    """Train a new model for a short time without a clip and read the advice off its norms. Raises TuitrainError."""
    config = Config.of(given)
    reading = _scratch({**given, "clip": 0.0}, YOUNG + steps, report, told)
    norms = np.array(reading.norms[YOUNG:], dtype=float)
    norms = norms[np.isfinite(norms)]
    betas = (config.betas[0], config.betas[1])
    advice = advise(norms, 0.0, config.optimizer, betas)
    if advice is None:
        raise TuitrainError(f"{len(norms)} steps are too few for advice: at least 200 after the first {YOUNG}; give "
                            "more --steps")
    adam = config.optimizer in ("adam", "adamw") and specs.optimizer(config.optimizer).bounded
    clips = {name: Config.of({"preset": name}) for name in PRESETS}
    return ClipFound(advice, norms, {k: kick(k, betas) for k in KICKS} if adam else {},
                     {name: float(preset.clip) for name, preset in clips.items()
                      if preset.clip_kind == "norm" and not isinstance(preset.clip, str)})


class _Steers(SimpleAside):
    """Sets the rate of each next step, and ends the run after the last."""

    def __init__(self, machine: Any, steps: int, rate: Callable[[int], float] | None,
                 send: Callable[[c.Command], None]) -> None:
        self._machine, self._steps, self._rate, self._send = machine, steps, rate, send
        self._set()

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Called after each step."""
        self._set()
        if self._machine.progress.step >= self._steps:
            self._send(c.Stop(id="", by=askers.RACE))
        return iter(())

    def _set(self) -> None:
        if self._rate is not None:
            self._machine.knobs = replace(self._machine.knobs, lr=self._rate(self._machine.progress.step))


def _scratch(given: Mapping[str, Any], steps: int, report: Callable[[str], None], told: Callable[[Reading], None],
             rate: Callable[[int], float] | None = None,
             enough: Callable[[Reading], bool] = lambda reading: False) -> Reading:
    """The reading of a new run of some steps in a folder that is removed; ctrl+c ends it early and goes on up."""
    reading = Reading(Arm(), 0, steps)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        made = runtime.aside(lambda: prepare.plan({**given, **QUIET}, report))
        run.create()
        worker = runtime.aside(lambda: prepare.start(made, run, report))
        trainer = worker.trainer
        trainer.asides = (*trainer.asides, _Steers(trainer.machine, steps, rate, worker.send))
        feed = worker.feed()
        worker.start()
        try:
            while not reading.state:
                for event, _ in feed.drain_timed(0.2):
                    reading.take(event)
                told(reading)
                if not reading.state and enough(reading):
                    worker.send(c.Stop(id="", by=askers.RACE))
        finally:
            worker.send(c.Stop(id="", by=askers.RACE))
            worker.join()
    if reading.message:
        raise TuitrainError(reading.message)
    return reading
