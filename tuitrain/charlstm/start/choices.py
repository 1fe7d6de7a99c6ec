"""What races of threads chose, remembered in the person's cache for some days. Knows nothing of how they are run."""

import time
from dataclasses import asdict, dataclass

from tuitrain.charlstm import cache

FILE = "races.json"
FORGOTTEN_AFTER = 7 * 86400.0
"""Seconds: a machine changes, and a choice made in a bad hour must not stay for good."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the race chose: compute threads, `fp32` or `bf16`, and the seconds a bare step took with them."""

    threads: int
    precision: str
    step_seconds: float
    compared: str = ""
    """What was timed, in words."""
    key: str = ""
    """By which it is remembered; empty if it is not."""


def remember(choice: Choice) -> None:
    """Keep a choice under its key; where there is no cache, the next run races again."""
    _keep({**remembered(), choice.key: (time.time(), choice)})


def forget(key: str) -> None:
    """Remember a choice no longer: it did not keep what it promised."""
    _keep({name: entry for name, entry in remembered().items() if name != key})


def remembered() -> dict[str, tuple[float, Choice]]:
    """The choices of the last days with their Unix times; what another version wrote or somebody damaged is passed
    over."""
    try:
        return {key: (float(entry["time"]), Choice(**entry["choice"])) for key, entry in cache.read(FILE).items()
                if 0 <= time.time() - entry["time"] < FORGOTTEN_AFTER}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(known: dict[str, tuple[float, Choice]]) -> None:
    cache.write(FILE, {name: {"time": when, "choice": asdict(chosen)} for name, (when, chosen) in known.items()})
