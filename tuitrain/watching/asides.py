"""Helpers for the script's own evaluation and sample functions, which must not affect training."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tuitrain.errors import UsageError
from tuitrain.intervals import Every, parse_every
from tuitrain.watching import rng


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Restore random generators and the modules' training flags on exit."""
    states, training = rng.states(), [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        rng.restore(states)
        for module, was in training:
            module.training = was


class Interval:
    """An interval in steps or time (`500`, `30s`, `5m`); None means only on request. First due after one interval."""

    def __init__(self, every: Every | None, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        number, unit = (0.0, "steps") if every is None else parse_every(every, name)
        if unit not in ("steps", "seconds"):
            raise UsageError(f"{name}={every!r}: give steps such as 500 or a time such as '30s' or '5m'")
        self._number, self._in_steps, self._clock = number, unit == "steps", clock
        self._since = clock()
        self._asked: int | None = None
        """The step of the last call; a caller may ask less often than at each step."""

    def due(self, step: int) -> bool:
        """Return whether the interval has passed; if it has, the next one starts now.

        An interval in steps has passed once a multiple of it lies between the step of the last call and this one.
        """
        if not self._number:
            return False
        if self._in_steps:
            every, before = int(self._number), step - 1 if self._asked is None else self._asked
            self._asked = step
            return step // every > before // every
        if self._clock() - self._since < self._number:
            return False
        self._since = self._clock()
        return True


def loss_of(result: Any) -> tuple[float, dict[str, float]]:
    """Split the result of an evaluation, a number or a mapping with `loss`, into the loss and its other numbers."""
    if isinstance(result, Mapping):
        numbers = {str(name): _number(value) for name, value in result.items()}
        if "loss" not in numbers:
            raise UsageError(f"an evaluation returns a number or a dict with 'loss', but got {sorted(numbers)}")
        return numbers.pop("loss"), numbers
    return _number(result), {}


def sample_text(result: Any) -> str:
    """Return a sample as text: strings as they are, numbers in rows."""
    if isinstance(result, str):
        return result
    if isinstance(result, Mapping):
        return "\n".join(f"{name}: {sample_text(value)}" for name, value in result.items())
    if isinstance(result, Tensor):
        result = result.detach().cpu().tolist()
    if isinstance(result, Sequence):
        return " ".join(sample_text(value) for value in result)
    return f"{float(result):.5g}"


def _number(value: Any) -> float:
    return float(value.detach().float().mean()) if isinstance(value, Tensor) else float(value)
