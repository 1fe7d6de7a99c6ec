"""What races of threads chose, remembered in the person's cache for some days. Knows nothing of how they are run."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

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


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / "races.json"


def remembered() -> dict[str, tuple[float, Choice]]:
    """The choices of the last days with their Unix times; what another version wrote or somebody damaged is passed
    over."""
    try:
        known = json.loads(_cache().read_text())
        return {key: (float(entry["time"]), Choice(**entry["choice"])) for key, entry in known.items()
                if 0 <= time.time() - entry["time"] < FORGOTTEN_AFTER}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(known: dict[str, tuple[float, Choice]]) -> None:
    path = _cache()
    entries = {name: {"time": when, "choice": asdict(chosen)} for name, (when, chosen) in known.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(entries))
        part.replace(path)
    except OSError:
        return  # without a cache the next run races again
