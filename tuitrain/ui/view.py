"""How a person wants to see the run: nothing here reaches the engine."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class View:
    """Windows, axes, and what was asked and not yet answered."""

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
    tape: str = ""
    """Where a replay is."""
    remark: str = ""
    """Why it is starting, or what ended."""
    asked: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """What was asked by id: a knob or a word, and its value."""
    refused: str = ""

    def asking(self, name: str) -> Any:
        """The newest value asked of a knob and not answered yet, or None."""
        values = [value for what, value in self.asked.values() if what == name]
        return values[-1] if values else None


WINDOWS = (250, 500, 1_000, 2_000, 0)
