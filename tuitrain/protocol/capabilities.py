"""What a run offers, declared in the facts of its start: commands, knobs, and the unit of its loss.

A run of an older version does not declare this and offers everything.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tuitrain.knobs import KNOBS
from tuitrain.protocol.commands import Command

KEY = "capabilities"
"""The key under which capabilities stand in the facts."""
OTHER = "this run's engine does not offer that"


@dataclass(frozen=True, slots=True)
class LossUnit:
    """The unit of a loss: its name, the abbreviation after a number, and the factor from the engine's number."""

    name: str = "bits per character"
    short: str = "bpc"
    scale: float = 1 / 0.6931471805599453


@dataclass(frozen=True, slots=True)
class Capabilities:
    """For each command and knob the reason why the run does not offer it; empty if it does."""

    commands: Mapping[str, str] = field(
        default_factory=lambda: {kind.__name__: "" for kind in Command.__subclasses__()})
    knobs: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(KNOBS, ""))
    loss: LossUnit = LossUnit()
    resumes: str = ""
    """How to resume a run that has ended, if not by `tuitrain resume`."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Capabilities":
        """Read the capabilities from a run's facts; EVERYTHING if they are missing or malformed."""
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
        """Return the facts that `of` reads."""
        return {KEY: {**asdict(self), "ranges": {name: [spec.low, spec.high] for name, spec in KNOBS.items()
                                                 if spec.ranged and not self.knobs.get(name, OTHER)}}}

    def why_not(self, command: type[Command] | Command, knob: str = "") -> str:
        """Return why a command (on a knob, if given) is not offered; empty if it is."""
        kind = command if isinstance(command, type) else type(command)
        knob = knob or str(getattr(command, "name", "") if not isinstance(command, type) else "")
        return self.commands.get(kind.__name__, OTHER) or (self.knobs.get(knob, "") if knob else "")


EVERYTHING = Capabilities()
