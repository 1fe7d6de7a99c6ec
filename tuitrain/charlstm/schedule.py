"""Computes the factor on the learning rate knob over the run. Knows nothing of optimizers.

Counts everything in steps, so that a resumed run repeats exactly.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tuitrain.charlstm.config import Config, warmup_steps
from tuitrain.engine.landing import landing_factor

FLOOR = 0.02
"""Final value of linear and cosine schedules, as a share of the peak."""


@dataclass(slots=True)
class _State:
    """The state of a schedule in a checkpoint."""

    plateau_factor: float = 1.0
    plateau_best: float = math.inf
    plateau_waited: int = 0
    land_from: int = 0
    land_steps: int = 0


class Schedule:
    """The learning rate schedule: `factor` is from 0 to 1; `horizon` is the last step, 0 if open-ended."""

    def __init__(self, config: Config, steps_per_epoch: int, horizon: int) -> None:
        self._config = config
        self._per_epoch = steps_per_epoch
        # Fixed at the start: a budget in minutes that is corrected later must not move the warm-up.
        self.warmup = warmup_steps(config.warmup, horizon)
        self._state = _State()

    def factor(self, step: int, horizon: int) -> float:
        """Return the factor on the knob at `step` (counted from 1)."""
        return self._warm(step) * self._shape(step, horizon) * self._landing(step)

    def land(self, step: int, steps: int) -> None:
        """Lower the factor linearly from its value at `step` to almost nothing over `steps` steps."""
        self._state.land_from, self._state.land_steps = step, steps

    @property
    def landing(self) -> bool:
        return self._state.land_steps > 0

    def evaluated(self, loss: float) -> bool:
        """Report a validation loss to the plateau schedule; returns True if that lowered the rate."""
        state, config = self._state, self._config
        if config.lr_schedule != "plateau":
            return False
        if loss < state.plateau_best:
            state.plateau_best, state.plateau_waited = loss, 0
            return False
        state.plateau_waited += 1
        if state.plateau_waited < config.lr_patience:
            return False
        state.plateau_factor, state.plateau_waited = state.plateau_factor * config.lr_decay, 0
        return True

    def state(self) -> dict[str, Any]:
        return asdict(self._state)

    def restore(self, state: dict[str, Any]) -> None:
        self._state = _State(**{**state, "plateau_best": float(state["plateau_best"])})

    def _warm(self, step: int) -> float:
        return min(1.0, step / self.warmup) if self.warmup else 1.0

    def _shape(self, step: int, horizon: int) -> float:
        config = self._config
        if config.lr_schedule == "plateau":
            return self._state.plateau_factor
        if config.lr_schedule == "step":
            epoch = (step - 1) / self._per_epoch
            past = epoch - config.lr_decay_after
            decays = math.floor(past / config.lr_decay_every) if past > 0 else 0
            return config.lr_decay**decays
        if config.lr_schedule == "constant" or not horizon:
            return 1.0
        done = (step - self.warmup) / max(1, horizon - self.warmup)
        done = min(1.0, max(0.0, done))
        if config.lr_schedule == "linear":
            return 1.0 - (1.0 - FLOOR) * done
        return FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + math.cos(math.pi * done))

    def _landing(self, step: int) -> float:
        return landing_factor(step, self._state.land_from, self._state.land_steps)
