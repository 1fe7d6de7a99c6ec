"""Display settings of one cockpit; none of them reaches the engine."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class View:
    """Window, axis and other settings, and the commands that wait for an answer."""

    run: str = ""
    window: int = 0
    """Steps in the plots; 0 is the whole run."""
    log_axis: bool = False
    filter: str = ""
    braille: bool = True
    now: float = 0.0
    """Unix seconds, for ages."""
    guard_waits: float = 0.0
    """Seconds until the guard acts, while it waits for a person."""
    connection: str = "starting"
    """starting, live, read-only, replay or gone."""
    host: str = ""
    """The name of the machine that trains, if it is another one."""
    tape: str = ""
    """Position and speed of a replay, in words."""
    remark: str = ""
    """What a starting run is doing, or how it ended."""
    asked: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Pending commands by id: the knob or a word for the command, and its value."""
    refused: str = ""
    """Why the last key did nothing."""
    said: str = ""
    """What the engine answered to a command that had nothing to do."""

    def asking(self, name: str) -> Any:
        """Return the newest value asked for a knob and not answered yet, or None."""
        values = [value for what, value in self.asked.values() if what == name]
        return values[-1] if values else None


WINDOWS = (250, 500, 1_000, 2_000, 0)
