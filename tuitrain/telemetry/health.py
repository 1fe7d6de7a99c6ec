"""The state of a run's health: findings and a few curves. Folded by RunState, bounded.

Findings are stored with their branch; only those of the present lineage are shown.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from tuitrain.protocol import askers, groups
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.specs import CellSpec
from tuitrain.telemetry import wire
from tuitrain.telemetry.lineage import Lineage, Place
from tuitrain.telemetry.readings import BlackBox, Probe, Updates
from tuitrain.telemetry.standing import Standing, follow, mends

CURVE = 360
"""Maximum readings of a curve, over all branches."""
OVER = 2000
"""Steps after which an unanswered alarm is downgraded to a standing warning."""
CURVES = ("weights", "update", "surprise", "saturation", "radius", "worst", "dead", "gibberish")


FINDINGS = (f.WarningRaised, f.AlarmRaised, f.VerdictReached, f.AdviceGiven, f.BlackBoxKept, f.Probed, f.Measured)
T = TypeVar("T", f.VerdictReached, f.AdviceGiven, BlackBox, Probe, Updates)


@dataclass(slots=True)
class Found:
    """The newest findings of each kind, of all branches."""

    warnings: deque[f.WarningRaised] = field(default_factory=partial(deque, maxlen=12))
    verdicts: deque[f.VerdictReached] = field(default_factory=partial(deque, maxlen=4))
    advice: deque[f.AdviceGiven] = field(default_factory=partial(deque, maxlen=4))
    black_boxes: deque[BlackBox] = field(default_factory=partial(deque, maxlen=2))
    probes: deque[Probe] = field(default_factory=partial(deque, maxlen=4))
    updates: deque[Updates] = field(default_factory=partial(deque, maxlen=4))


@dataclass(slots=True)
class Health:
    """The newest finding of each kind on this lineage, None before the first; `curves` hold (step, value)."""

    standing: Standing | None = None
    """The current warning, until it is answered, outgrown or dismissed."""
    alarm: f.AlarmRaised | None = None
    mended: bool = field(default=False, metadata=wire.OPTIONAL)
    """Whether the rate was lowered or a landing begun since the alarm, so that it is not called unanswered later."""
    warnings: list[f.WarningRaised] = field(default_factory=list, metadata=wire.STAYS)
    verdict: f.VerdictReached | None = field(default=None, metadata=wire.STAYS)
    advice: f.AdviceGiven | None = field(default=None, metadata=wire.STAYS)
    black_box: BlackBox | None = field(default=None, metadata=wire.STAYS)
    probe: Probe | None = field(default=None, metadata=wire.STAYS)
    updates: Mapping[str, float] = field(default_factory=dict, metadata=wire.STAYS)
    """Newest update ratio of each parameter group."""
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: {name: [] for name in CURVES},
                                                       metadata=wire.STAYS)
    waiting_since: float = 0.0
    """Unix time from which the guard waits for a person; 0 while it does not."""
    found: Found = field(default_factory=Found)
    readings: dict[str, list[tuple[int, int, float]]] = field(default_factory=lambda: {name: [] for name in CURVES})
    """(branch, step, value) of each curve."""
    _place: Place = field(default=(0, 0), metadata=wire.STAYS)
    """Branch of the lineage that is shown, and the last step of its parent."""

    @property
    def alarm_said(self) -> str:
        """The sentence of the alarm that stands, empty while none does."""
        return "" if self.alarm is None else self.alarm.sentence

    @property
    def broken(self) -> bool:
        """Whether there is an unanswered alarm."""
        return self.alarm is not None

    def fold(self, event: e.Event, when: float, lineage: Lineage, cell: CellSpec) -> None:
        """Take an event in of a run of such a cell; `lineage` has taken it in already."""
        if isinstance(event, e.RolledBack | e.Undone | e.RunResumed | e.StepsDone) and self._place != _place(lineage):
            self.moved(lineage)
        self.standing = follow(self.standing, event, lineage)
        self.mended |= mends(event)
        match event:
            case f.WarningRaised():
                self.found.warnings.append(event)
            case f.AlarmRaised():
                self.alarm, self.mended = event, False
                self.found.verdicts = deque((v for v in self.found.verdicts if not lineage.holds(v.branch, v.step)),
                                            self.found.verdicts.maxlen)
            case f.VerdictReached():
                self.found.verdicts.append(event)
                if self.waiting_since:
                    self.waiting_since = when  # the guard counts from here
            case f.AdviceGiven():
                self.found.advice.append(event)
            case f.BlackBoxKept():
                self.found.black_boxes.append(BlackBox.of(event))
            case e.StepsDone() if self.alarm is not None and event.first_step > self.alarm.step + OVER:
                step = self.alarm.step  # training went on: the verdict stays
                if not self.mended:
                    self.standing = Standing(self.alarm.rule, step, step, 1, self.alarm.sentence, lapsed=True,
                                             branch=self.alarm.branch)
                self.alarm = None
            case e.Dismissed() if not self.waiting_since:
                self.alarm = None
            case e.Undone() if self.alarm is not None and not self.waiting_since:
                if not lineage.holds(self.alarm.branch, self.alarm.step):
                    self.alarm = None
            case f.Measured():
                self._measured(event, lineage)
            case f.Probed():
                self._probed(Probe.of(event), lineage, cell)
            case e.SampleDrawn() if event.health:
                self._add(event.branch, event.step, {"gibberish": float(event.health["gibberish"])}, lineage)
            case e.Paused(by=askers.GUARD):
                self.waiting_since = when
            case e.RolledBack() | e.Continued():
                self.alarm, self.waiting_since = None, 0.0
        if isinstance(event, FINDINGS):
            self._show(lineage)

    def moved(self, lineage: Lineage) -> None:
        """Show what belongs to a new lineage."""
        self._place = _place(lineage)
        self._show(lineage)
        self.curves = {name: [(step, value) for branch, step, value in readings if lineage.holds(branch, step)]
                       for name, readings in self.readings.items()}

    def _show(self, lineage: Lineage) -> None:
        """Select the newest finding of each kind that belongs to the lineage."""
        found = self.found
        self.warnings = [x for x in found.warnings if lineage.holds(x.branch, x.step)]
        self.verdict, self.advice = _newest(found.verdicts, lineage), _newest(found.advice, lineage)
        self.black_box, self.probe = _newest(found.black_boxes, lineage), _newest(found.probes, lineage)
        updates = _newest(found.updates, lineage)
        self.updates = {} if updates is None else updates.ratios

    def _probed(self, probe: Probe, lineage: Lineage, cell: CellSpec) -> None:
        self.found.probes.append(probe)
        numbers = {"radius": probe.radius, "worst": max(layer.worst for layer in probe.layers),
                   "dead": max(layer.dead for layer in probe.layers)}
        if cell.candidate:  # of a cell that is not known here nobody can say which gate it is
            numbers["saturation"] = max(layer.saturation[cell.candidate] for layer in probe.layers)
        self._add(probe.branch, probe.step, numbers, lineage)

    def _measured(self, event: f.Measured, lineage: Lineage) -> None:
        layers = [name for name in event.weights if groups.is_layer(name)]
        last = len(event.weights[layers[0]]) - 1
        step = event.first_step + last * event.every
        ratios = {name: float(values[last]) for name, values in event.update_ratio.items()}
        self.found.updates.append(Updates(event.branch, step, ratios))
        recurrent = [values[last] for name, values in event.rms.items() if groups.is_recurrent(name)]
        numbers = {"weights": max(event.weights[n][last] for n in layers),
                   "update": max(event.update_ratio[n][last] for n in layers)}
        if recurrent:
            numbers["surprise"] = max(recurrent)
        self._add(event.branch, step, numbers, lineage)

    def _add(self, branch: int, step: int, numbers: dict[str, float], lineage: Lineage) -> None:
        for name, number in numbers.items():
            value, readings = float(f"{number:.4g}"), self.readings[name]
            readings.append((branch, step, value))
            if len(readings) > CURVE:
                del readings[1:-CURVE // 2:2]
                self.curves[name] = [(at, v) for b, at, v in readings if lineage.holds(b, at)]
            elif lineage.holds(branch, step):
                self.curves[name].append((step, value))

    def growth(self) -> float | None:
        """Return the relative growth per 1,000 steps of the largest layer's weights, over the newer half."""
        points = self.curves["weights"]
        points = [p for p in points if p[0] >= points[-1][0] / 2] if points else []
        if len(points) < 2 or points[-1][0] - points[0][0] < 200 or not points[-1][1]:
            return None
        (then, low), (now, high) = points[0], points[-1]
        return (high - low) / (now - then) * 1000 / high

    @classmethod
    def from_wire(cls, told: Any) -> "Health":
        """Read what `wire.to_wire` wrote; call `moved` next. Raises KeyError, TypeError or ValueError."""
        health = wire.record_from_wire(cls, told)
        health.readings = {name: health.readings.get(name, [])[-CURVE:] for name in CURVES}
        return health


def _newest(found: Iterable[T], lineage: Lineage) -> T | None:
    """Return the newest finding that belongs to the lineage, None if there is none."""
    mine = [x for x in found if lineage.holds(x.branch, x.step)]
    return mine[-1] if mine else None


def _place(lineage: Lineage) -> Place:
    """Return what identifies a lineage: its branch, and the last step of its parent on it."""
    return lineage.branch, lineage.forks.get(lineage.branch, (0, 0))[1]
