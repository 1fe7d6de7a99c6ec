"""The common step axis of the plots: the whole run from its history, recent windows from the rings."""

from dataclasses import dataclass

import numpy as np

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.series import Array, History, Ring
from tuitrain.ui.view import View


@dataclass(frozen=True, slots=True)
class Stretch:
    """Numbers by step: single ones, or lowest, highest and mean of `width` steps from each step on."""

    steps: Array
    low: Array
    high: Array
    mean: Array
    width: int

    @property
    def band(self) -> tuple[Array, Array]:
        """(steps, values) of a line between lowest and highest at each place, which fills the band."""
        return np.repeat(self.steps, 2), np.stack([self.low, self.high], 1).ravel()

    def after(self, step: float) -> "Stretch":
        """Return the part after a step."""
        late = self.steps > step
        return Stretch(self.steps[late], self.low[late], self.high[late], self.mean[late], self.width)


def stretch(history: History, ring: Ring, window: int) -> Stretch:
    """Return the newest `window` steps (0: all): single steps if the ring holds them all, else those of the history."""
    values = ring.last(window or None)
    wanted = min(len(history), window or len(history))
    if len(values) >= wanted:
        return Stretch(history.last_step - len(values) + 1 + np.arange(len(values)), values, values, values, 1)
    steps, low, high, mean, _ = history.buckets()
    return Stretch(steps, low, high, mean, history.width).after(history.last_step - wanted - history.width)


def x_limits(state: RunState, view: View) -> tuple[float, float]:
    """Return the first and last step of the axis; the end moves in jumps, so that the axis does not creep."""
    last = max(state.losses.last_step, 10)
    if state.race is not None and holds(state):  # the arms run ahead of the run
        last = max([last, *(runner.curve.last_step for runner in state.race.runners)])
    if not view.window:
        last = max([last, *(line.last_step for line in state.left)])
    if view.window:
        size = view.window / 5
        right = np.ceil(last / size) * size
        return max(0.0, right - view.window), float(right)
    size = 10.0 ** np.floor(np.log10(last)) / 2
    return float(max(0, state.losses.first_step - 1)), float(np.ceil(last / size) * size)


def holds(state: RunState) -> bool:
    """Whether the newest race began on the present line, so that its arms can be drawn beside it."""
    return state.race is not None and state.lineage.holds(state.race.began.branch, state.race.began.step)


def bad_steps(history: History) -> list[float]:
    """Return the steps with numbers that are not finite, which are marked instead of left as a gap."""
    steps, _, _, _, bad = history.buckets()
    return [float(s) for s in steps[bad > 0]]
