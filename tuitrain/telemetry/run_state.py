"""RunState: everything a front end shows, folded from events and of bounded size for a run of any length.

A client that attaches later receives it as plain JSON.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuitrain.knobs import AUTO, KNOBS
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import Capabilities, LossUnit
from tuitrain.protocol.facts import CAPTURED, RunFacts
from tuitrain.specs import cell
from tuitrain.telemetry import wire
from tuitrain.telemetry.contest import Contest
from tuitrain.telemetry.curves import Curves
from tuitrain.telemetry.health import Health
from tuitrain.telemetry.line import Line, Lines
from tuitrain.telemetry.lineage import Lineage, Place, branch_on_disk
from tuitrain.telemetry.pace import Pace
from tuitrain.telemetry.series import History, Ring, median
from tuitrain.telemetry.story import Story
from tuitrain.telemetry.units import many
from tuitrain.telemetry.validation import Validation

LAYOUT = 4
"""Version of the wire form; a state of another layout is rejected."""
UNREAD = "parts of this run cannot be read here (damaged, or another version's): they are counted and not shown"


@dataclass(slots=True)
class RunState:
    """The present state of a run. Losses in nats per character.

    A client that attaches later receives every field declared here, except those marked as staying.
    """

    status: str = "starting"
    branch: int = 0
    step: int = 0
    epoch: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    facts: RunFacts = field(default_factory=RunFacts)
    device: str = ""
    threads: int = 0
    precision: str = ""
    knobs: dict[str, Any] = field(default_factory=dict)
    lr_in_force: float = 0.0
    guard: str = ""
    trained_seconds: float = 0.0
    ended: str = ""
    paused_by: str = ""
    trouble: str = ""
    """Why saving currently fails; empty while it works."""
    clients: int = 0
    used: e.MachineUsed | None = None
    work: e.WorkAdvanced | None = field(default=None, metadata=wire.STAYS)
    """The newest progress of a long command, until that is answered."""
    lineage: Lineage = field(default_factory=Lineage)
    """Tells panes which steps belong to the present line."""
    lines: Lines = field(default_factory=Lines)
    validation: Validation = field(default_factory=Validation)
    clip_set: Place = (0, 0)
    """The branch and the step after which the present clip is in force."""
    story: Story = field(default_factory=Story)
    health: Health = field(default_factory=Health)
    curves: Curves = field(default_factory=Curves)
    """The newest numbers of each curve that the loop itself keeps."""
    unusable: int = 0
    """Events that could not be read or folded: damaged lines, inner keys that are not those of this version."""
    speed: Pace = field(default_factory=Pace)
    race: Contest | None = None
    """The newest race."""

    def fold(self, event: e.Event, when: float | None = None) -> None:
        """Update the state with an event of Unix time `when`; events that change nothing shown are ignored."""
        usable = True
        for take in (self._take, lambda it: self.health.fold(it, when or 0.0, self.lineage, cell(self.config)),
                     lambda it: self.story.fold(it, when or 0.0, self._now())):
            try:
                take(event)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                usable = False  # from another version, with other keys inside; the rest of the run can still be shown
        if not usable:
            self.passed_over(1, when)

    def passed_over(self, count: int, when: float | None = None) -> None:
        """Count events that could not be read; the first time, report it in the log."""
        if count and not self.unusable:
            self.story.remark(UNREAD, when or 0.0, self.step)
        self.unusable += count

    def _now(self) -> dict[str, Any]:
        return {"step": self.step, "branch": self.branch, "train": self.train_loss, "val": self.val_loss,
                "unit": self.unit, "lr": self.knobs.get("lr", 0.0), "clip": self.knobs.get("clip", 0.0),
                "said": self.health.alarm_said}

    def _take(self, event: e.Event) -> None:
        if self.work is not None and (isinstance(event, e.RunEnded) or e.id_of(event) == self.work.answers):
            self.work = None
        if isinstance(event, e.RaceStarted) and not event.mark:
            self.race = Contest.of(event)
        elif self.race is not None:
            self.race.fold(event)
        match event:
            case e.WorkAdvanced():
                self.work = event
            case e.RunStarted() | e.RunResumed():
                self._open(event)
            case e.StepsDone():
                self._learned(event)
            case e.Evaluated():
                self.validation.take(event, self.lineage)
            case e.Logged():
                self.curves.fold(event)
            case e.FactsAdded():
                self.facts = self.facts.adding(event.facts)
            case e.KnobChanged():
                if event.name == "clip" and event.new != self.knobs.get("clip"):
                    self.clip_set = (event.branch, event.step)
                self.knobs[event.name] = event.new
            case e.PromptChanged():
                self.knobs["prompt"] = event.new
            case e.RolledBack() | e.Undone():
                self._move(event)
                self._turn(dict(event.knobs))
            case e.Paused():
                self.status, self.paused_by = "paused", event.by
            case e.Continued():
                self.status = "running"
            case e.GuardModeChanged():
                self.guard = event.new
            case e.ClientJoined() | e.ClientLeft():
                self.clients = event.clients
            case e.SavingFailed():
                self.trouble = event.reason
            case e.SavingRecovered():
                self.trouble = ""
            case e.MachineUsed():
                self.used = event
            case e.RunEnded():
                self.status, self.ended = "ended", event.reason

    @property
    def loss(self) -> Ring:
        """Losses of the newest steps of this line."""
        return self.lines.present.loss

    @property
    def grad_norm(self) -> Ring:
        """Gradient norms of the newest steps of this line, before clipping."""
        return self.lines.present.grad_norm

    @property
    def clipped(self) -> Ring:
        """1 for each of the newest steps on which the clip acted, else 0."""
        return self.lines.present.clipped

    @property
    def norms(self) -> dict[str, Ring]:
        """Median norm of each parameter group, one per drain."""
        return self.lines.present.norms

    @property
    def losses(self) -> History:
        """Losses of the whole present line."""
        return self.lines.present.losses

    @property
    def grad_norms(self) -> History:
        """Gradient norms of the whole present line."""
        return self.lines.present.grad_norms

    @property
    def left(self) -> tuple[Line, ...]:
        """The last abandoned lines, newest first."""
        return tuple(reversed(self.lines.left))

    def left_lines(self) -> list[tuple[Line, int]]:
        """Each line that was left, the oldest first, with the last step that it shares with the present line."""
        here = (self.branch, self.step)
        return [(line, self.lineage.shared((line.branch, line.last_step), here)) for line in self.lines.left]

    @property
    def val_loss(self) -> float | None:
        """The newest loss on the whole validation text, of this line; None before the first."""
        return self.validation.whole[-1][1] if self.validation.whole else None

    @property
    def val_step(self) -> int:
        """The step of that loss, 0 before the first."""
        return self.validation.whole[-1][0] if self.validation.whole else 0

    @property
    def best_loss(self) -> float | None:
        """The lowest loss on the whole validation text, of this line."""
        return self.validation.best[1] if self.validation.best else None

    @property
    def best_step(self) -> int:
        """The step of the best loss, 0 before the first."""
        return self.validation.best[0] if self.validation.best else 0

    @property
    def train_loss(self) -> float:
        """Mean of the finite losses of the last 100 steps; nan before the first."""
        losses = self.loss.last(100)
        losses = losses[np.isfinite(losses)]
        return float(losses.mean()) if len(losses) else float("nan")

    @property
    def norm(self) -> float:
        """Median gradient norm of the last 100 steps, before clipping."""
        norms = self.grad_norm.last(100)
        return median(norms)

    @property
    def share_clipped(self) -> float:
        """Share of the last 500 steps whose norm exceeded clip."""
        return float(self.clipped.last(500).mean()) if len(self.clipped) else 0.0

    @property
    def clip_since(self) -> int:
        """The step after which the present clip is in force; 0 if from the first step."""
        return self.clip_set[1]

    def clip_acted(self, most: int = 500) -> tuple[int, int]:
        """Return on how many steps the present clip acted, and of how many: the newest `most` since it was set."""
        steps = self.clipped.last(max(0, min(most, self.step - self.clip_since)))
        return int(steps.sum()), len(steps)

    @property
    def steps_per_second(self) -> float:
        """Speed over about the last ten seconds of training."""
        return self.speed.steps_per_second

    @property
    def characters_per_second(self) -> float:
        """Characters read by training, each counted as often as it is read."""
        return self.steps_per_second * self.config.get("batch_size", 0) * self.config.get("bptt", 0)

    @property
    def read_per_second(self) -> float:
        """Characters per second, or steps per second if the run has no characters."""
        return self.characters_per_second if self.config.get("bptt") else self.steps_per_second

    @property
    def capabilities(self) -> Capabilities:
        """What the run offers."""
        return self.facts.capabilities

    @property
    def unit(self) -> LossUnit:
        """The unit in which losses are shown."""
        return self.capabilities.loss

    @property
    def last_step(self) -> int:
        """The step with which the run ends; 0 if it has no end or ends by its minutes, where it is an estimate."""
        return 0 if self.facts.seconds else int(self.knobs.get("steps") or 0)

    @property
    def done(self) -> float:
        """The share of the run that is done; nan if it has no end."""
        if self.facts.seconds:
            return min(1.0, self.trained_seconds / self.facts.seconds)
        return self.step / self.last_step if self.last_step else float("nan")

    @property
    def seconds_left(self) -> float:
        """Seconds until the minutes are over, else until the last step at the present speed; inf if there is none."""
        if self.facts.seconds:
            return max(0.0, self.facts.seconds - self.trained_seconds)
        last = self.knobs.get("steps", 0)
        speed = self.steps_per_second
        return (last - self.step) / speed if last and speed else float("inf")

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON, a few hundred kilobytes at the most."""
        return {"layout": LAYOUT, **wire.fields_to_wire(self)}

    @classmethod
    def from_wire(cls, told: dict[str, Any]) -> "RunState":
        """Read what `to_wire` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        if told["layout"] != LAYOUT:
            raise ValueError(f"layout {str(told['layout'])[:20]} is not {LAYOUT}")
        state = wire.record_from_wire(cls, told)
        state.validation.moved(state.lineage)
        state.health.moved(state.lineage)
        return state

    @property
    def computes(self) -> tuple[str, ...]:
        """Device, number format and, on a GPU, whether a step is a CUDA graph."""
        if not self.device.startswith("cuda") or not self.facts.graph:
            return self.device, self.precision
        return self.device, self.precision, "CUDA graph" if self.facts.graph == CAPTURED else "eager"

    @property
    def workforce(self) -> str:
        """The threads that compute, and where several processes do, how many."""
        threads = many(self.threads, "thread")
        return f"{len(self.facts.ranks)} processes of {threads}" if self.facts.ranks else threads

    def _open(self, event: e.RunStarted | e.RunResumed) -> None:
        self.config, self.facts = dict(event.config), RunFacts.of(event.facts)
        self.device, self.threads, self.precision = event.device, event.threads, event.precision
        knobs = {name: self.config.get(name) for name in KNOBS}
        if knobs["clip"] == AUTO:
            knobs["clip"] = 0.0
        knobs.update(self.facts.knobs)
        self.guard = self.facts.guard or str(self.config.get("on_divergence", ""))
        self.status, self.ended = "running", ""
        first = not self.knobs
        if isinstance(event, e.RunResumed):
            self._move(event)
        self.speed.clear()
        if first:
            self.knobs = knobs
        self._turn(knobs)

    def _learned(self, event: e.StepsDone) -> None:
        origin = self.lineage.fold(event)
        if origin is not None:  # the event that opened its branch is missing
            self.lines.move(event.branch, origin, self.lineage)
            self._moved()
        self.lines.present.learned(event)
        self.branch, self.step = event.branch, event.first_step + len(event.loss) - 1
        self.epoch = event.epoch
        if event.lr:
            self.lr_in_force = event.lr[-1]
        self.trained_seconds += event.seconds
        self.speed.learned(event.seconds, len(event.loss))

    def _move(self, event: e.RolledBack | e.Undone | e.RunResumed) -> None:
        """Move to another place and its lineage."""
        origin = self.lineage.fold(event, self._branch_of)
        if origin is None:
            return
        self.branch, self.step = event.branch, origin[1]
        self.lines.move(event.branch, origin, self.lineage)
        self._moved()

    def _moved(self) -> None:
        self.validation.moved(self.lineage)
        self.speed.clear()

    def _branch_of(self, point: str) -> int | None:
        known = self.story.points.get(point)
        return known.branch if known is not None else branch_on_disk(point)

    def _turn(self, knobs: dict[str, Any]) -> None:
        """Set the knobs after a move; a clip that changed, or was set on abandoned steps, counts as set here."""
        if knobs.get("clip") != self.knobs.get("clip") or not self.lineage.holds(*self.clip_set):
            self.clip_set = (self.branch, self.step)
        self.knobs = knobs
