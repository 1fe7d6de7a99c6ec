"""What is known about a run's health: findings and the few curves that show them. Folded by RunState, bounded.

Findings are remembered with their branch; what shows as present is what belongs to the line that led here.
"""

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from tuitrain.protocol import askers, groups
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.codec import plain
from tuitrain.telemetry import wire
from tuitrain.telemetry.lineage import Lineage, Place
from tuitrain.telemetry.standing import Standing, follow

CURVE = 360
"""Readings of a curve, of all branches together."""
OVER = 2000
"""Steps after which an alarm that nobody answered no longer shouts; it goes on as a warning that stands."""
CURVES = ("weights", "update", "surprise", "saturation", "radius", "worst", "dead", "gibberish")
KEPT = {"warnings": 12, "verdict": 4, "advice": 4, "black_box": 2, "sample": 4, "probe": 4, "updates": 4}
"""How many findings of each kind are remembered, of all branches together."""


def _nothing() -> dict[str, deque[dict[str, Any]]]:
    return {kind: deque(maxlen=most) for kind, most in KEPT.items()}


@dataclass(slots=True)
class Health:
    """The newest of each finding of this line as plain fields, empty before the first; `curves` are (step, value)."""

    standing: Standing | None = None
    """The warning that is neither answered nor outgrown nor dismissed."""
    alarm: dict[str, Any] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)
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
    _found: dict[str, deque[dict[str, Any]]] = field(default_factory=_nothing)
    _readings: dict[str, list[tuple[int, int, float]]] = field(default_factory=lambda: {name: [] for name in CURVES})
    """(branch, step, value) of each curve."""
    _place: Place = (0, 0)
    """Branch and last step of its parent of the line that is shown."""

    @property
    def broken(self) -> bool:
        """An alarm that nobody has answered yet."""
        return bool(self.alarm)

    def fold(self, event: e.Event, when: float, lineage: Lineage) -> None:
        """Take an event in; `lineage` has taken it in already."""
        if isinstance(event, e.RolledBack | e.Undone | e.RunResumed | e.StepsDone) and self._place != _place(lineage):
            self.moved(lineage)
        self.standing = follow(self.standing, event, lineage)
        match event:
            case f.WarningRaised():
                self._keep("warnings", event, lineage)
            case f.AlarmRaised():
                self.alarm, self.verdict = plain(asdict(event)), {}
                self._found["verdict"] = deque((v for v in self._found["verdict"]
                                                if not lineage.holds(v["branch"], v["step"])), KEPT["verdict"])
            case f.VerdictReached():
                self._keep("verdict", event, lineage)
                if self.waiting_since:
                    self.waiting_since = when  # the guard counts from here
            case f.AdviceGiven():
                self._keep("advice", event, lineage)
            case f.BlackBoxKept():
                self._keep("black_box", event, lineage)
            case e.StepsDone() if self.alarm and event.first_step > self.alarm["step"] + OVER:
                step = int(self.alarm["step"])  # nobody answered, and it went on: the verdict stays
                self.standing = Standing(self.alarm["rule"], step, step, 1, self.alarm["sentence"], lapsed=True,
                                         branch=int(self.alarm["branch"]))
                self.alarm = {}
            case e.Dismissed() if not self.waiting_since:
                self.alarm = {}
            case f.Measured():
                self._measured(event, lineage)
            case f.Probed():
                numbers = {"saturation": max(x["saturation"]["g"] for x in event.layers),
                           **{n: max(x[n] for x in event.layers) for n in ("radius", "worst", "dead")}}
                self._keep("probe", event, lineage, loss=event.loss, entropy=event.entropy,
                           layers=[dict(layer) for layer in event.layers])
                self._add(event.branch, event.step, numbers, lineage)
            case e.SampleDrawn() if event.health:
                self._keep("sample", event, lineage, **event.health)
                self._add(event.branch, event.step, {"gibberish": float(event.health["gibberish"])}, lineage)
            case e.Paused(by=askers.GUARD):
                self.waiting_since = when
            case e.RolledBack() | e.Continued():
                self.alarm, self.waiting_since = {}, 0.0

    def moved(self, lineage: Lineage) -> None:
        """The line that led here is another one: show what belongs to it."""
        self._place = _place(lineage)
        for kind in KEPT:
            mine = [x for x in self._found[kind] if lineage.holds(x["branch"], x["step"])]
            if kind == "warnings":
                self.warnings = mine
            elif kind == "updates":
                self.updates = mine[-1]["ratios"] if mine else {}
            else:
                setattr(self, kind, mine[-1] if mine else {})
        self.curves = {name: [(step, value) for branch, step, value in readings if lineage.holds(branch, step)]
                       for name, readings in self._readings.items()}

    def _keep(self, kind: str, event: Any, lineage: Lineage, /, **words: Any) -> None:
        """Remember a finding, whole or what `words` tell of it, with its branch and step."""
        found = {"branch": event.branch, "step": event.step, **words} if words else plain(asdict(event))
        self._found[kind].append(found)
        if lineage.holds(event.branch, event.step):
            if kind == "warnings":
                self.warnings = [*self.warnings, found][-KEPT[kind]:]
            else:
                setattr(self, kind, found)

    def _measured(self, event: f.Measured, lineage: Lineage) -> None:
        layers = [name for name in event.weights if groups.is_layer(name)]
        last = len(event.weights[layers[0]]) - 1
        step = event.first_step + last * event.every
        ratios = {name: float(values[last]) for name, values in event.update_ratio.items()}
        self._found["updates"].append({"branch": event.branch, "step": step, "ratios": ratios})
        if lineage.holds(event.branch, step):
            self.updates = ratios
        recurrent = [values[last] for name, values in event.rms.items() if groups.is_recurrent(name)]
        numbers = {"weights": max(event.weights[n][last] for n in layers),
                   "update": max(event.update_ratio[n][last] for n in layers)}
        if recurrent:
            numbers["surprise"] = max(recurrent)
        self._add(event.branch, step, numbers, lineage)

    def _add(self, branch: int, step: int, numbers: dict[str, float], lineage: Lineage) -> None:
        for name, number in numbers.items():
            value, readings = float(f"{number:.4g}"), self._readings[name]
            readings.append((branch, step, value))
            if len(readings) > CURVE:
                del readings[1:-CURVE // 2:2]
                self.curves[name] = [(at, v) for b, at, v in readings if lineage.holds(b, at)]
            elif lineage.holds(branch, step):
                self.curves[name].append((step, value))

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
        return {"standing": self.standing and asdict(self.standing), "alarm": self.alarm,
                "waiting_since": self.waiting_since,
                "found": {kind: plain(list(found)) for kind, found in self._found.items()},
                "readings": {name: plain(readings) for name, readings in self._readings.items()}}

    @classmethod
    def from_wire(cls, told: dict[str, Any]) -> "Health":
        """What `to_wire` told. Raises KeyError, TypeError or ValueError if it did not."""
        standing = told["standing"]
        health = cls(standing=wire.record_from_wire(Standing, standing) if standing else None,
                     alarm=dict(told["alarm"]), waiting_since=float(told["waiting_since"]))
        for kind in KEPT:
            health._found[kind].extend({**x, "branch": int(x["branch"]), "step": int(x["step"])}
                                       for x in told["found"].get(kind, []))
        for name in CURVES:
            health._readings[name] = wire.from_wire(list[tuple[int, int, float]],
                                                    told["readings"].get(name, [])[-CURVE:])
        return health


def _place(lineage: Lineage) -> Place:
    """What tells one line from another: its branch, and the last step of the parent that belongs to it."""
    return lineage.branch, lineage.forks.get(lineage.branch, (0, 0))[1]
