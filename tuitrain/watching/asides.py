"""What the loop's own functions do beside training: an evaluation, a sample. They change nothing of what comes next."""

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
    """Generators and the modules' training flags are afterwards as they were before."""
    states, training = rng.states(), [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        rng.restore(states)
        for module, was in training:
            module.training = was


class Interval:
    """`every` so many steps, `30s` or `5m`; None: only when it is asked for. Due for the first time after one."""

    def __init__(self, every: Every | None, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        number, unit = (0.0, "steps") if every is None else parse_every(every, name)
        if unit not in ("steps", "seconds"):
            raise UsageError(f"{name}={every!r}: give steps such as 500 or a time such as '30s' or '5m'")
        self._number, self._in_steps, self._clock = number, unit == "steps", clock
        self._since = clock()

    def due(self, step: int) -> bool:
        """Whether it is time; if so, the next one is counted from here."""
        if not self._number:
            return False
        if self._in_steps:
            return step % int(self._number) == 0
        if self._clock() - self._since < self._number:
            return False
        self._since = self._clock()
        return True


def loss_of(result: Any) -> tuple[float, dict[str, float]]:
    """The loss an evaluation returned, and its other numbers: a number, a mapping with `loss`, or a pair of both."""
    if isinstance(result, Mapping):
        numbers = {str(name): _number(value) for name, value in result.items()}
        if "loss" not in numbers:
            raise UsageError(f"an evaluation returns a number or a dict with 'loss'; this one has {sorted(numbers)}")
        return numbers.pop("loss"), numbers
    return _number(result), {}


def words_of(result: Any) -> str:
    """A sample as text: as it is, or numbers in rows."""
    if isinstance(result, str):
        return result
    if isinstance(result, Mapping):
        return "\n".join(f"{name}: {words_of(value)}" for name, value in result.items())
    if isinstance(result, Tensor):
        result = result.detach().cpu().tolist()
    if isinstance(result, Sequence):
        return " ".join(words_of(value) for value in result)
    return f"{float(result):.5g}"


def _number(value: Any) -> float:
    return float(value.detach().float().mean()) if isinstance(value, Tensor) else float(value)
