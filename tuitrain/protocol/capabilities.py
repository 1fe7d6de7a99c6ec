"""What a run can do, said once in the facts that it begins with: commands, knobs, and what its loss is counted in.

A run without this is older than it, and offers everything.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tuitrain.knobs import BOUNDS
from tuitrain.protocol.commands import Command

KEY = "capabilities"
"""Its name among the facts."""
OTHER = "this run's engine does not offer that"


@dataclass(frozen=True, slots=True)
class LossUnit:
    """What a loss is shown in: its name, the word behind a number, and what the engine's number is multiplied by."""

    name: str = "bits per character"
    short: str = "bpc"
    scale: float = 1 / 0.6931471805599453


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Each command and each knob that there is, with the reason why it is not offered; empty where it is."""

    commands: Mapping[str, str] = field(
        default_factory=lambda: {kind.__name__: "" for kind in Command.__subclasses__()})
    knobs: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys((*BOUNDS, "prompt"), ""))
    loss: LossUnit = LossUnit()
    resumes: str = ""
    """How a run that has ended goes on, if not by `tuitrain resume`."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Capabilities":
        """Those in a run's facts; everything where there are none or they are not understood."""
        found = facts.get(KEY)
        if not isinstance(found, Mapping):
            return EVERYTHING
        try:
            unit = found["loss"]
            return cls({str(k): str(v) for k, v in found["commands"].items()},
                       {str(k): str(v) for k, v in found["knobs"].items()},
                       LossUnit(str(unit["name"]), str(unit["short"]), float(unit["scale"])),
                       str(found.get("resumes", "")))
        except (KeyError, TypeError, ValueError, AttributeError):
            return EVERYTHING

    def to_facts(self) -> dict[str, Any]:
        """What `of` reads."""
        return {KEY: {**asdict(self), "ranges": {name: [bounds.low, bounds.high] for name, bounds in BOUNDS.items()
                                                 if not self.knobs.get(name, OTHER)}}}

    def why_not(self, command: type[Command] | Command, knob: str = "") -> str:
        """Why a command, or one on a knob, is not offered; empty if it is."""
        kind = command if isinstance(command, type) else type(command)
        knob = knob or str(getattr(command, "name", "") if not isinstance(command, type) else "")
        return self.commands.get(kind.__name__, OTHER) or (self.knobs.get(knob, "") if knob else "")


EVERYTHING = Capabilities()
