"""The faults by name: `python -m tests.faults` makes them in the long form, test_campaign.py in a short one."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.faults.attaching import attach
from tests.faults.campaign import (
    Process,
    Row,
    damage,
    drops,
    full_disk,
    garbage,
    kills,
    power_cuts,
    signals,
)
from tests.faults.racing import races

FAULTS: dict[str, tuple[Callable[[int, Path, random.Random], Row], int]] = {
    "kills": (kills, 200), "full-disk": (full_disk, 50), "power-cuts": (power_cuts, 20), "damage": (damage, 3000),
    "signals": (signals, 20), "garbage": (garbage, 10_000), "drops": (drops, 30),
    "races": (races, 100), "attach": (attach, 5),
}
"""Name -> the fault, and how often the long form makes it."""


def make(name: str, times: int, folder: Path, seed: int) -> Row:
    """Make one of FAULTS so often; what was awaited in vain is a problem of the row, and no process stays behind.

    Raises PermissionError or FileNotFoundError where this machine or user cannot make it.
    """
    try:
        return FAULTS[name][0](times, folder, random.Random(seed))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return Row(name, "", times, wrong=[str(error)])
    finally:
        while Process.started:
            process = Process.started.pop().process
            process.kill()
            process.wait()
