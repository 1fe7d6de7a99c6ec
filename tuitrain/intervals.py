"""How often something happens: what a person writes for it, and whether it is due."""

import re

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
