"""The learning rate as a factor that holds only while the optimizer steps.

A scheduler overwrites a rate that is set by hand (LambdaLR, OneCycleLR), or multiplies it for good (ExponentialLR). So
the rates in the optimizer stay the loop's own: they are multiplied just before a step and put back just after it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from tuitrain.engine.landing import landing_factor


def reference_of(optimizer: Optimizer) -> float:
    """The rate that the knob stands for while nobody has turned it: the peak of a one-cycle, else the rate before any
    schedule, of the first group. 1 if that is 0, so that the knob is a factor."""
    group = optimizer.param_groups[0]
    return float(group.get("max_lr", group.get("initial_lr", group["lr"]))) or 1.0


class Landing:
    """The factor of a landing: 1 before it, then linearly to almost nothing. A Shape that steering sets."""

    def __init__(self) -> None:
        self._begin = self._steps = 0

    def land(self, step: int, steps: int) -> None:
        """Go to almost nothing over `steps` steps."""
        self._begin, self._steps = step, steps

    def factor(self, step: int) -> float:
        """At a step."""
        return landing_factor(step, self._begin, self._steps)

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"begin": self._begin, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """As it was."""
        self._begin, self._steps = int(state["begin"]), int(state["steps"])


class Rates:
    """The rates of all groups, multiplied around each step. `factor` is asked before each."""

    def __init__(self, optimizers: Sequence[Optimizer], factor: Callable[[], float]) -> None:
        self._factor = factor
        self._own: list[tuple[dict[str, Any], Any]] = []
        self._optimizers = optimizers

    def multiply(self, optimizer: Optimizer) -> None:
        """Just before a step. A factor of 1 touches nothing."""
        self.put_back()  # of a step that raised
        factor = self._factor()
        if factor == 1.0:
            return
        for group in optimizer.param_groups:
            self._own.append((group, group["lr"]))
            group["lr"] = group["lr"] * factor

    def put_back(self) -> None:
        """Just after it."""
        for group, rate in self._own:
            group["lr"] = rate
        self._own.clear()

    @property
    def in_force(self) -> Any:
        """The rate of the first group's next step; a number, or a tensor where the loop has one."""
        return self._optimizers[0].param_groups[0]["lr"] * self._factor()
