"""What an arm did, folded from its events: by whoever trains it, or later from its journal. Knows no training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.diagnosis.arms import Arm
from tuitrain.diagnosis.tail import tail_ratio
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.readings import Probe

WHOLE, CUT, BROKEN = "whole", "cut", "failed"
"""How an arm ended: after all its steps, before, or by an error."""


@dataclass(slots=True)
class Reading:
    """The numbers of an arm's steps after step `begin`; losses in nats per character, norms before clipping."""

    arm: Arm
    begin: int
    steps: int
    """How many were asked for."""
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)
    """Of some of the steps, 1 where the clip acted."""
    updates: list[float] = field(default_factory=list)
    """The largest update ratio of any part, at some of the steps."""
    weights: list[float] = field(default_factory=list)
    """L2 norm of all weights, at the same steps."""
    radii: list[tuple[int, float]] = field(default_factory=list)
    """(step, largest spectral radius)."""
    signs: list[tuple[str, int, str]] = field(default_factory=list)
    """(rule, step, sentence) of each warning and alarm."""
    alarms: int = 0
    skipped: int = 0
    """Steps that were not finite."""
    validation: float = math.nan
    stretches: list[float] = field(default_factory=list)
    """Validation loss of consecutive stretches of the text, the same for all arms of a race."""
    sample: str = ""
    seconds: float = 0.0
    state: str = ""
    """WHOLE, CUT or BROKEN; empty while it trains."""
    message: str = ""
    params_sha256: str = ""
    """Of the weights that it ended with."""

    def take(self, event: e.Event) -> None:
        """Fold an event of the arm."""
        match event:
            case e.StepsDone():
                self.losses += event.loss
                self.norms += event.grad_norm
                self.clipped += event.clipped
                self.seconds += event.seconds
            case f.Measured():
                count = min((len(v) for v in event.weights.values()), default=0)
                for i in range(count):
                    self.weights.append(math.sqrt(sum(float(v[i]) ** 2 for v in event.weights.values())))
                    self.updates.append(max((float(v[i]) for v in event.update_ratio.values() if i < len(v)),
                                            default=math.nan))
            case f.Probed() if event.layers:
                self.radii.append((event.step, Probe.of(event).radius))
            case f.AlarmRaised() | f.WarningRaised():
                self.alarms += isinstance(event, f.AlarmRaised)
                self.signs.append((event.rule, event.step, event.sentence))
            case e.StepSkipped():
                self.skipped += event.count
            case e.Evaluated(part=False) if event.step > self.begin:
                self.validation = event.loss
            case e.SampleDrawn():
                self.sample = event.text
            case e.CheckpointSaved():
                self.params_sha256 = event.params_sha256
            case e.RunEnded():
                self.state = BROKEN if event.traceback else WHOLE if len(self.losses) >= self.steps else CUT
                self.message = event.message

    @property
    def done(self) -> int:
        """Steps so far."""
        return len(self.losses)

    @property
    def tail(self) -> float:
        """The 99th percentile of the norms over their median."""
        return tail_ratio(self._norms)

    @property
    def largest(self) -> float:
        """The largest norm, in medians; inf if one was not finite."""
        if not self.norms:
            return math.nan
        median = float(np.median(self._norms)) if len(self._norms) else math.nan
        return math.inf if len(self._norms) < len(self.norms) else float(self._norms.max()) / median

    @property
    def share_clipped(self) -> float:
        """Share of the steps on which the clip acted."""
        return float(np.mean(self.clipped)) if self.clipped else math.nan

    @property
    def update(self) -> float:
        """The median of the largest update ratio of any part."""
        return float(np.median(self.updates)) if self.updates else math.nan

    @property
    def growth(self) -> float:
        """By what share the norm of all weights grew."""
        return self.weights[-1] / self.weights[0] - 1 if len(self.weights) > 1 and self.weights[0] else math.nan

    @property
    def radius(self) -> float:
        """The newest spectral radius."""
        return self.radii[-1][1] if self.radii else math.nan

    @property
    def pace(self) -> float:
        """Growth of the radius per 1,000 steps over the second half: the first still adapts to the new knobs."""
        late = [(step, radius) for step, radius in self.radii if step >= self.begin + self.done // 2]
        if len(late) < 2 or late[-1][0] == late[0][0]:
            return math.nan
        steps, radii = np.array(late, dtype=float).T
        return 1000 * float(np.polyfit(steps - steps[0], radii, 1)[0])

    @property
    def _norms(self) -> NDArray[np.float64]:
        norms = np.array(self.norms, dtype=float)
        return norms[np.isfinite(norms)]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON, each step's numbers too."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "arm"}
        return {"lr": self.arm.lr, "clip": self.arm.clip, **values}

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> "Reading":
        """Read what `to_json` returned."""
        body = dict(body)
        arm = Arm(body.pop("lr"), body.pop("clip"))
        for name in ("losses", "norms", "updates", "weights", "stretches"):
            body[name] = list(map(float, body[name]))
        body["radii"] = [(int(step), float(radius)) for step, radius in body["radii"]]
        body["signs"] = [tuple(sign) for sign in body["signs"]]
        return cls(arm=arm, **{**body, "validation": float(body["validation"]), "seconds": float(body["seconds"])})
