"""What is known about a run's health: findings and the few curves that show them. Folded by RunState, bounded."""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.codec import plain
from tuitrain.telemetry.standing import Standing, follow

WARNINGS, CURVE = 12, 240
OVER = 2000
"""Steps after which an alarm that nobody answered no longer shouts; it goes on as a warning that stands."""
CURVES = ("weights", "update", "surprise", "saturation", "radius", "worst", "dead", "gibberish")


@dataclass(slots=True)
class Health:
    """The newest of each finding as plain fields, empty before the first; `curves` are (step, value) pairs."""

    warnings: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=WARNINGS))
    standing: Standing | None = None
    """The warning that is neither answered nor outgrown nor dismissed."""
    alarm: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    advice: dict[str, Any] = field(default_factory=dict)
    black_box: dict[str, Any] = field(default_factory=dict)
    sample: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, float] = field(default_factory=dict)
    """Newest update ratio of each parameter group."""
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: {name: [] for name in CURVES})
    waiting_since: float = 0.0
    """Unix time from which the guard waits for a person; 0 while it does not."""

    @property
    def broken(self) -> bool:
        """An alarm that nobody has answered yet."""
        return bool(self.alarm)

    def fold(self, event: e.Event, when: float) -> None:
        """Take an event in."""
        self.standing = follow(self.standing, event)
        match event:
            case f.WarningRaised():
                self.warnings.append(plain(asdict(event)))
            case f.AlarmRaised():
                self.alarm, self.verdict = plain(asdict(event)), {}
            case f.VerdictReached():
                self.verdict = plain(asdict(event))
                if self.waiting_since:
                    self.waiting_since = when  # the guard counts from here
            case f.AdviceGiven():
                self.advice = plain(asdict(event))
            case f.BlackBoxKept():
                self.black_box = plain(asdict(event))
            case e.StepsDone() if self.alarm and event.first_step > self.alarm["step"] + OVER:
                step = int(self.alarm["step"])  # nobody answered, and it went on: the verdict stays
                self.standing = Standing(self.alarm["rule"], step, step, 1, self.alarm["sentence"], lapsed=True)
                self.alarm = {}
            case e.Dismissed() if not self.waiting_since:
                self.alarm = {}
            case f.Measured():
                self._measured(event)
            case f.Probed():
                self.probe = {"step": event.step, "loss": event.loss, "entropy": event.entropy,
                              "layers": [dict(layer) for layer in event.layers]}
                for name, number in (("saturation", max(x["saturation"]["g"] for x in event.layers)),
                                     *((n, max(x[n] for x in event.layers)) for n in ("radius", "worst", "dead"))):
                    self._add(name, event.step, number)
            case e.SampleDrawn() if event.health:
                self.sample = dict(event.health)
                self._add("gibberish", event.step, float(event.health["gibberish"]))
            case e.Paused(by="guard"):
                self.waiting_since = when
            case e.RolledBack():
                self.alarm, self.waiting_since = {}, 0.0
                self.cut(event.to_step)
            case e.Continued():
                self.alarm, self.waiting_since = {}, 0.0

    def cut(self, step: int) -> None:
        """Forget the curves after a step."""
        self.curves = {name: [p for p in points if p[0] <= step] for name, points in self.curves.items()}

    def _measured(self, event: f.Measured) -> None:
        layers = [name for name in event.weights if name.startswith("layer")]
        last = len(event.weights[layers[0]]) - 1
        step = event.first_step + last * event.every
        self.updates = {name: float(values[last]) for name, values in event.update_ratio.items()}
        recurrent = [values[last] for name, values in event.rms.items() if name.startswith("W_hh")]
        self._add("weights", step, max(event.weights[n][last] for n in layers))
        self._add("update", step, max(event.update_ratio[n][last] for n in layers))
        if recurrent:
            self._add("surprise", step, max(recurrent))

    def _add(self, name: str, step: int, value: float) -> None:
        points = self.curves[name]
        points.append((step, float(f"{value:.4g}")))
        if len(points) > CURVE:
            del points[1:-CURVE // 2:2]

    def growth(self) -> float | None:
        """Relative growth of the largest layer's weights in 1,000 steps, over the newer half of what is known."""
        points = self.curves["weights"]
        points = [p for p in points if p[0] >= points[-1][0] / 2] if points else []
        if len(points) < 2 or points[-1][0] - points[0][0] < 200 or not points[-1][1]:
            return None
        (then, low), (now, high) = points[0], points[-1]
        return (high - low) / (now - then) * 1000 / high

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"warnings": list(self.warnings), "standing": self.standing and asdict(self.standing),
                "alarm": self.alarm, "verdict": self.verdict, "advice": self.advice,
                "black_box": self.black_box, "sample": self.sample, "waiting_since": self.waiting_since,
                "probe": plain(self.probe), "updates": plain(self.updates),
                "curves": {name: plain([list(p) for p in points]) for name, points in self.curves.items()}}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "Health":
        """What `to_wire` told."""
        wire = dict(wire)
        curves, warnings, standing = wire.pop("curves"), wire.pop("warnings"), wire.pop("standing", None)
        known = {name: wire[name] for name in ("alarm", "verdict", "advice", "black_box", "sample", "waiting_since",
                                               "probe", "updates")}
        health = cls(**known, standing=Standing(**standing) if standing else None)
        health.warnings.extend(warnings)
        for name in CURVES:
            health.curves[name] = [(int(step), float(value)) for step, value in curves.get(name, [])]
        return health
