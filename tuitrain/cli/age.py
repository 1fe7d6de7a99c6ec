"""How old this process is: on a busy machine Python itself takes seconds to start."""

import os
import time
from pathlib import Path


def age(stat: Path = Path("/proc/self/stat")) -> float:
    """Return the seconds since this process started; 0 where the system does not say."""
    try:
        # Field 22, counted after the name in parentheses: clock ticks from boot to the start of the process.
        started = int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
