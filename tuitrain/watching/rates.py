"""The learning rate knob as a factor that applies only while the optimizer steps.

A scheduler would overwrite a rate that is set by hand (LambdaLR, OneCycleLR) or multiply it for good (ExponentialLR).
So the rates in the optimizer stay the script's own: they are multiplied just before a step and restored just after.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from tuitrain.engine.landing import landing_factor


def reference_of(optimizer: Optimizer) -> float:
    """Return the initial value of the knob, from the optimizer's first group.

    That is the peak rate of a one-cycle, else the rate before any schedule; 1 if it is 0, so that the knob is a factor.
    """
    group = optimizer.param_groups[0]
    return float(group.get("max_lr", group.get("initial_lr", group["lr"]))) or 1.0


class Landing:
    """The factor of a landing: 1 before it, then falling linearly to almost nothing. Set by steering."""

    def __init__(self) -> None:
        self._begin = self._steps = 0

    def land(self, step: int, steps: int) -> None:
        """Let the rate fall to almost nothing over `steps` steps from `step` on."""
        self._begin, self._steps = step, steps

    def factor(self, step: int) -> float:
        """Return the factor at a step."""
        return landing_factor(step, self._begin, self._steps)

    def state(self) -> dict[str, Any]:
        """Return the state as plain JSON."""
        return {"begin": self._begin, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._begin, self._steps = int(state["begin"]), int(state["steps"])


class Rates:
    """Multiplies the rates of all groups during each step by the current value of `factor`."""

    def __init__(self, optimizers: Sequence[Optimizer], factor: Callable[[], float]) -> None:
        self._factor = factor
        self._own: list[tuple[dict[str, Any], Any]] = []
        self._optimizers = optimizers

    def multiply(self, optimizer: Optimizer) -> None:
        """Apply the factor just before a step; a factor of 1 leaves everything as it is."""
        self.restore()  # in case the previous step raised
        factor = self._factor()
        if factor == 1.0:
            return
        for group in optimizer.param_groups:
            self._own.append((group, group["lr"]))
            group["lr"] = group["lr"] * factor

    def restore(self) -> None:
        """Restore the script's own rates just after a step."""
        for group, rate in self._own:
            group["lr"] = rate
        self._own.clear()

    @property
    def in_force(self) -> Any:
        """The first group's rate at the next step; a number, or a tensor if the script uses one."""
        return self._optimizers[0].param_groups[0]["lr"] * self._factor()
