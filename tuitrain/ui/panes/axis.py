"""Steps on the plots' common axis: the whole run from its history, recent windows from the rings."""

import numpy as np

from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.series import Array, History, Ring
from tuitrain.ui.view import View


def recent(history: History, ring: Ring, window: int) -> tuple[Array, Array]:
    """(steps, values): every step of a window, or the mean of each bucket of the whole run."""
    if window or history.last_step <= len(ring):
        values = ring.last(window or None)
        return history.last_step - len(values) + 1 + np.arange(len(values)), values
    steps, _, _, mean, _ = history.buckets()
    return steps, mean


def x_limits(state: RunState, view: View) -> tuple[float, float]:
    """From the first to the newest step shown; the end jumps, so that the axis does not creep."""
    last = max(state.losses.last_step, 10)
    if not view.window and state.ghost is not None:
        last = max(last, state.ghost[1].last_step)
    if view.window:
        size = view.window / 5
        right = np.ceil(last / size) * size
        return max(0.0, right - view.window), float(right)
    size = 10.0 ** np.floor(np.log10(last)) / 2
    return float(max(0, state.losses.first_step - 1)), float(np.ceil(last / size) * size)


def bad_steps(history: History) -> list[float]:
    """Where losses or norms were not finite: these are marked, never left as a silent gap."""
    steps, _, _, _, bad = history.buckets()
    return [float(s) for s in steps[bad > 0]]
