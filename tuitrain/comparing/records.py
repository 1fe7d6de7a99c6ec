"""One run as a comparison needs it: its curves, what it came to, its configuration, its newest sample."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.errors import RunError
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.recording.past import Past
from tuitrain.recording.survey import Survey
from tuitrain.run.directory import RunDirectory, find_runs, state_of
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.story import SampleText
from tuitrain.telemetry.units import duration, number, percent, safe

Array = NDArray[Any]
AXES = {"step": "steps", "characters": "characters learned from", "time": "seconds of training"}
"""What a curve can be drawn over."""
FINEST = 60
"""A curve of training is the mean over this part of its length."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses in the run's unit by step; nan where none was finite."""

    steps: Array
    losses: Array


@dataclass(frozen=True, slots=True)
class Record:
    """A run up to now. `numbers` has a value for each of NUMBERS, nan where there is none; losses in `unit`."""

    name: str
    state: str
    unit: LossUnit
    numbers: dict[str, float]
    config: dict[str, Any]
    train: Curve
    validation: Curve
    sample: SampleText | None
    characters: int
    """Characters that a step learns from; 0 if the run has none."""
    clock: tuple[Array, Array] = field(default=(np.zeros(1), np.zeros(1)))
    """(steps, seconds of training up to each of them); a single pair if nobody asked."""

    def over(self, curve: Curve, axis: str) -> tuple[Array, Array]:
        """Return the curve with its steps as the axis has them; empty if the run cannot be drawn over it."""
        if axis == "characters":
            return (curve.steps * self.characters, curve.losses) if self.characters else (np.zeros(0), np.zeros(0))
        if axis == "time":
            return np.interp(curve.steps, *self.clock), curve.losses
        return curve.steps, curve.losses


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A run that cannot be read, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Number:
    """A number that runs are compared by: head of its column, meaning, value, format."""

    head: str
    meaning: str
    of: Callable[[RunState], float]
    show: Callable[[float], str]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _loss(value: float) -> str:
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 else number(value, 4)


def _scaled(state: RunState, loss: float | None) -> float:
    return math.nan if loss is None else loss * state.unit.scale


NUMBERS = {
    "step": Number("step", "optimizer updates on the line that led to the present", lambda s: s.step, _whole),
    "train": Number("train", "mean training loss of the last 100 steps", lambda s: _scaled(s, s.train_loss), _loss),
    "val": Number("val", "newest validation loss", lambda s: _scaled(s, s.val_loss), _loss),
    "best": Number("best", "lowest validation loss of the line", lambda s: _scaled(s, s.best_loss), _loss),
    "best-at": Number("at", "the step of the lowest", lambda s: s.best_step or math.nan, _whole),
    "norm": Number("norm", "median gradient norm of the last 100 steps, before clipping", lambda s: s.norm, number),
    "clipped": Number("clipped", "share of the last 500 steps that were clipped", lambda s: s.share_clipped, percent),
    "lr": Number("lr", "learning rate in force", lambda s: s.lr_in_force or math.nan, number),
    "clip": Number("clip", "threshold of the gradient norm, 0 is off", lambda s: float(s.knobs.get("clip") or 0),
                   number),
    "bad": Number("bad", "steps whose loss was not finite", lambda s: float(s.losses.buckets()[4].sum()), _whole),
    "branches": Number("branches", "lines that rollbacks opened, the first among them",
                       lambda s: float(max([s.branch, *s.lineage.forks, 0]) + 1), _whole),
    "time": Number("time", "seconds of training, left lines among them", lambda s: s.trained_seconds, duration),
}
"""The one declaration of what runs are compared, sorted and filtered by."""


def found(paths: list[str]) -> Iterator[RunDirectory]:
    """Yield the runs at these paths; a folder that is no run itself stands for those in it. Raises RunError."""
    for text in paths:
        path = Path(text)
        inside = [] if (path / "config.json").exists() else find_runs(path)
        if not path.is_dir():
            raise RunError(f"{path}: {'is no folder' if path.exists() else 'there is no such folder'}; name run "
                           "folders, or one that holds runs")
        yield from inside or [RunDirectory(path)]


def read(run: RunDirectory, *, clock: bool = False) -> Record | Unreadable:
    """Return a run's record; `clock` also reads how long each part of it took. Never fails."""
    name = safe(str(run.path))
    try:
        kept = run.read_config()
        state = Past(run).state
        if not len(state.losses) and not state.config:
            raise RunError(f"{run.journal.name} has no events")
        spent = (np.zeros(1), np.zeros(1))
        if clock:
            survey = Survey()
            survey.read_on(run.journal)
            spent = survey.clock(state.lineage.path())
        return _record(name, run, state, kept, spent)
    except RecursionError:
        return Unreadable(name, "config.json is nested too deeply")
    except Exception as error:  # one bad run must not hide the others
        return Unreadable(name, safe(" ".join((str(error) or type(error).__name__).split())))


def _record(name: str, run: RunDirectory, state: RunState, kept: dict[str, Any], clock: tuple[Array, Array]) -> Record:
    config = state.config or kept.get("config", {})
    steps, _, _, mean, _ = state.losses.buckets()
    middle = steps + (state.losses.width - 1) / 2
    whole = np.array(state.validation.whole, dtype=float).reshape(-1, 2)
    return Record(
        name=name, state=safe(state_of(run, state.ended)), unit=state.unit,
        numbers={key: float(spec.of(state)) for key, spec in NUMBERS.items()},
        config=_flat(config), train=Curve(middle, smooth(mean * state.unit.scale)),
        validation=Curve(whole[:, 0], whole[:, 1] * state.unit.scale),
        sample=next((text for text in reversed(state.story.texts) if text.whole), None),
        characters=int(config.get("batch_size", 0)) * int(config.get("bptt", 0)) if config.get("bptt") else 0,
        clock=clock)


def smooth(values: Array) -> Array:
    """Return the mean of the finite numbers in a window of 1/FINEST of them, centred; nan where there are none."""
    half = len(values) // (2 * FINEST)
    good = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(good)])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return np.divide(total[high] - total[low], count[high] - count[low], out=np.full(len(values), np.nan),
                     where=count[high] > count[low])


def _flat(config: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return a nested configuration with one key for each value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = before + str(key)
        flat |= _flat(value, name + ".") if isinstance(value, dict) and len(before) < 40 else {name: value}
    return flat
