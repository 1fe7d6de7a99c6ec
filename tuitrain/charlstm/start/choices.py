"""Remembers the results of thread races in the user's cache for some days. Knows nothing of how races are run."""

import time
from dataclasses import asdict, dataclass

from tuitrain.charlstm import cache

FILE = "races.json"
FORGOTTEN_AFTER = 7 * 86400.0
"""Seconds after which a choice is dropped, because machines change and a race may have had a bad hour."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of a race: compute threads, `fp32` or `bf16`, and the seconds of a bare step with them."""

    threads: int
    precision: str
    step_seconds: float
    compared: str = ""
    """A description of the timings."""
    key: str = ""
    """The key in the cache; empty if the choice is not remembered."""


def remember(choice: Choice) -> None:
    """Store a choice under its key; without a cache the next run races again."""
    _keep({**remembered(), choice.key: (time.time(), choice)})


def forget(key: str) -> None:
    """Drop a choice, because steps take longer than it promised."""
    _keep({name: entry for name, entry in remembered().items() if name != key})


def remembered() -> dict[str, tuple[float, Choice]]:
    """Return the choices of the last days by key, each with its Unix time; empty if the file is damaged."""
    try:
        return {key: (float(entry["time"]), Choice(**entry["choice"])) for key, entry in cache.read(FILE).items()
                if 0 <= time.time() - entry["time"] < FORGOTTEN_AFTER}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(known: dict[str, tuple[float, Choice]]) -> None:
    cache.write(FILE, {name: {"time": when, "choice": asdict(chosen)} for name, (when, chosen) in known.items()})
