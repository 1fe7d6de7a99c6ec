"""How often something happens: what a person writes for it, and whether it is due."""

import math
import re
import time
from collections.abc import Callable

from tuitrain.errors import UsageError

Every = int | str
"""A number of steps, or a time such as `30s` or `5m`; where epochs are known `epoch`, before sealing also `auto`."""


def parse_every(value: Every, name: str = "interval") -> tuple[float, str]:
    """`500` -> (500, "steps"), `30s` -> (30, "seconds"), `5m` -> (300, "seconds"), else (0, "epoch" | "auto")."""
    if value in ("epoch", "auto"):
        return 0.0, str(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", str(value))
    if match is None or float(match[1]) <= 0 or (match[2] is None and "." in match[1]):
        raise UsageError(f"{name} {value}: give steps such as 500, a time such as 30s or 5m, or epoch")
    scale = {"s": 1, "m": 60, "h": 3600}
    return (float(match[1]), "steps") if match[2] is None else (float(match[1]) * scale[match[2]], "seconds")


def due(step: int, every: int, early: tuple[int, ...] = (8, 4, 2)) -> bool:
    """Every `every` steps, and also after an eighth, a quarter and a half of the first interval: a new run is
    watched most closely at its start."""
    return step % every == 0 or step in [every // part for part in early]


class Timer:
    """Says after which steps something is due that influences nothing: every so many steps, or by a steady clock.

    By the clock an interval holds whatever a step takes. A new run is watched most closely at its start, either way.
    """

    def __init__(self, every: Every, early: tuple[int, ...] = (8, 4, 2), *, fresh: bool = True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`early` are the parts of the first interval (8: an eighth) after which it is due already, if `fresh`."""
        number, unit = parse_every(every)
        self._steps, self._seconds = (int(number), math.inf) if unit == "steps" else (0, number)
        self._early, self._clock = early, clock
        self._wait = self._seconds / (max(early, default=1) if fresh else 1)
        self._since: float | None = None

    def due(self, step: int) -> bool:
        """Whether it is due after this step; asked once for each. By the clock the first interval begins here."""
        if self._steps:
            return due(step, self._steps, self._early)
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since < self._wait:
            return False
        self._since, self._wait = now, min(self._seconds, 2 * self._wait)
        return True
