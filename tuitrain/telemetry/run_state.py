"""RunState: everything a front end shows, folded from events and bounded whatever the length of the run.

It is also what one who attaches late receives, as plain JSON.
"""

import copy
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import Capabilities, LossUnit
from tuitrain.protocol.codec import plain
from tuitrain.telemetry.health import Health
from tuitrain.telemetry.series import History, Ring
from tuitrain.telemetry.story import Story

RECENT = 2000
EVALUATIONS = 400
GROUP_DRAINS = 120
GROUPS = 1000
"""Parameter groups with norms of their own."""
UNREAD = "parts of this run cannot be read here (damaged, or another version's): they are counted and not shown"
SPEED_OVER = 10.0
"""Seconds over which the speed is measured."""


_PLAIN = ("status", "branch", "step", "epoch", "config", "facts", "device", "threads", "precision", "knobs",
          "lr_in_force", "guard", "val_loss", "val_step", "best_loss", "best_step", "trained_seconds", "ended",
          "clients", "used", "paused_by", "trouble")
"""The fields that travel as they are."""


@dataclass(slots=True)
class RunState:
    """The present picture of a run. Losses in nats per character."""

    status: str = "starting"
    branch: int = 0
    step: int = 0
    epoch: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    threads: int = 0
    precision: str = ""
    knobs: dict[str, Any] = field(default_factory=dict)
    lr_in_force: float = 0.0
    guard: str = ""
    val_loss: float | None = None
    val_step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    trained_seconds: float = 0.0
    ended: str = ""
    paused_by: str = ""
    trouble: str = ""
    """Why saving fails now; empty while it works."""
    clients: int = 0
    used: dict[str, Any] = field(default_factory=dict)
    """The fields of the newest MachineUsed."""
    loss: Ring = field(default_factory=lambda: Ring(RECENT))
    grad_norm: Ring = field(default_factory=lambda: Ring(RECENT))
    clipped: Ring = field(default_factory=lambda: Ring(RECENT))
    norms: dict[str, Ring] = field(default_factory=dict)
    losses: History = field(default_factory=History)
    grad_norms: History = field(default_factory=History)
    ghost: tuple[int, History, History] | None = None
    """The branch that was left last, and its losses and norms."""
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss) of the whole validation text, oldest first."""
    parts: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss) of the small fixed part of it that is measured more often."""
    work: dict[str, Any] = field(default_factory=dict)
    """The fields of the newest WorkAdvanced; empty once it is answered."""
    story: Story = field(default_factory=Story)
    health: Health = field(default_factory=Health)
    unusable: int = 0
    """Events that could not be read or folded: damaged lines, inner keys that are not those of this version."""
    _speed: deque[tuple[float, int]] = field(default_factory=deque)

    def fold(self, event: e.Event, when: float | None = None) -> None:
        """Take an event of Unix time `when` in; events that change nothing shown are ignored."""
        usable = True
        for take in (self._take, lambda it: self.health.fold(it, when or 0.0),
                     lambda it: self.story.fold(it, when or 0.0, self._now())):
            try:
                take(event)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                usable = False  # another version's, with other keys inside: the rest of the run is still worth a look
        if not usable:
            self.passed_over(1, when)

    def passed_over(self, count: int, when: float | None = None) -> None:
        """Count what could not be read; the first time it is told."""
        if count and not self.unusable:
            self.story.remark(UNREAD, when or 0.0, self.step)
        self.unusable += count

    def _now(self) -> dict[str, Any]:
        return {"step": self.step, "branch": self.branch, "train": self.train_loss, "val": self.val_loss,
                "unit": self.unit, "lr": self.knobs.get("lr", 0.0), "clip": self.knobs.get("clip", 0.0)}

    def _take(self, event: e.Event) -> None:
        if self.work and (isinstance(event, e.RunEnded) or getattr(event, "id", "") == self.work["answers"]):
            self.work = {}
        match event:
            case e.WorkAdvanced():
                self.work = asdict(event)
            case e.RunStarted() | e.RunResumed():
                self._open(event)
            case e.StepsDone():
                self._learned(event)
            case e.Evaluated(part=True):
                self.parts.append((event.step, event.loss))
                if len(self.parts) > EVALUATIONS:
                    del self.parts[1::2]
            case e.Evaluated():
                self.val_loss, self.val_step = event.loss, event.step
                self.evaluations.append((event.step, event.loss))
                if len(self.evaluations) > EVALUATIONS:
                    del self.evaluations[1::2]
                if self.best_loss is None or event.loss < self.best_loss:
                    self.best_loss, self.best_step = event.loss, event.step
            case e.FactsAdded():
                self.facts.update(event.facts)
            case e.KnobChanged():
                self.knobs[event.name] = event.new
            case e.PromptChanged():
                self.knobs["prompt"] = event.new
            case e.RolledBack():
                self._leave(event.from_branch)
                self._cut(event.to_step)
                self.branch, self.step, self.knobs = event.branch, event.to_step, dict(event.knobs)
                self._forget_recent()
            case e.Undone():
                if (event.branch, event.step) != (self.branch, self.step):
                    self._return(event.branch, event.step)
                    self._forget_recent()
                self.branch, self.step, self.knobs = event.branch, event.step, dict(event.knobs)
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
                self.used = asdict(event)
            case e.RunEnded():
                self.status, self.ended = "ended", event.reason

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
        return float(np.median(norms)) if len(norms) else float("nan")

    @property
    def share_clipped(self) -> float:
        """Share of the last 500 steps whose norm exceeded clip."""
        return float(self.clipped.last(500).mean()) if len(self.clipped) else 0.0

    @property
    def steps_per_second(self) -> float:
        """Over about the last ten seconds of training."""
        seconds = sum(s for s, _ in self._speed)
        return sum(n for _, n in self._speed) / seconds if seconds else 0.0

    @property
    def characters_per_second(self) -> float:
        """Characters read by training, each counted as often as it is read."""
        return self.steps_per_second * self.config.get("batch_size", 0) * self.config.get("bptt", 0)

    @property
    def read_per_second(self) -> float:
        """Characters, or steps where there are none."""
        return self.characters_per_second if self.config.get("bptt") else self.steps_per_second

    @property
    def capabilities(self) -> Capabilities:
        """What the run offers."""
        return Capabilities.of(self.facts)

    @property
    def unit(self) -> LossUnit:
        """What its losses are shown in."""
        return self.capabilities.loss

    @property
    def seconds_left(self) -> float:
        """Until the last step, at the present speed; inf if there is none."""
        last = self.knobs.get("steps", 0)
        speed = self.steps_per_second
        return (last - self.step) / speed if last and speed else float("inf")

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON, a few tens of kilobytes at the most."""
        wire = {name: plain(getattr(self, name)) for name in _PLAIN}
        wire["rings"] = {name: plain([round(v, 6) for v in getattr(self, name).last().tolist()])
                         for name in ("loss", "grad_norm", "clipped")}
        wire["norms"] = {name: plain([float(f"{v:.4g}") for v in ring.last().tolist()])
                         for name, ring in self.norms.items()}
        wire["histories"] = [self.losses.to_wire(), self.grad_norms.to_wire()]
        wire["ghost"] = self.ghost and [self.ghost[0], self.ghost[1].to_wire(), self.ghost[2].to_wire()]
        wire["evaluations"], wire["parts"] = plain(self.evaluations), plain(self.parts)
        wire["story"], wire["health"] = self.story.to_wire(), self.health.to_wire()
        wire["unusable"] = self.unusable
        wire["speed"] = [list(pair) for pair in self._speed]
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> "RunState":
        """The state that `to_wire` told. Raises KeyError or ValueError if it did not."""
        wire = dict(wire)
        rings, speed, norms = wire.pop("rings"), wire.pop("speed"), wire.pop("norms")
        histories, ghost, evaluations = wire.pop("histories"), wire.pop("ghost"), wire.pop("evaluations")
        story = Story.from_wire(wire.pop("story"))
        # A field that this version has no word for is a newer host's, and is passed over.
        state = cls(**{name: wire[name] for name in _PLAIN}, health=Health.from_wire(wire["health"]), story=story)
        state.unusable = int(wire.get("unusable", 0))  # an older host does not say
        state.losses, state.grad_norms = (History.from_wire(h) for h in histories)
        if ghost:
            state.ghost = (int(ghost[0]), History.from_wire(ghost[1]), History.from_wire(ghost[2]))
        parts = wire.get("parts", [])  # an older host has none
        state.evaluations, state.parts = ([(int(step), float(loss)) for step, loss in kind]
                                          for kind in (evaluations, parts))
        if len(norms) > GROUPS or max(len(evaluations), len(parts)) > 2 * EVALUATIONS:
            raise ValueError("more than a state holds")
        for name, values in norms.items():
            state._group(name, np.array([float(v) for v in values[-GROUP_DRAINS:]]))
        for name in ("loss", "grad_norm", "clipped"):
            getattr(state, name).extend(np.array([float(v) for v in rings[name][-RECENT:]]))
        state._speed.extend((float(s), int(n)) for s, n in speed)
        return state

    @property
    def computes(self) -> tuple[str, ...]:
        """Device, number format and, on a GPU, whether a step is a CUDA graph."""
        if not self.device.startswith("cuda") or "graph" not in self.facts:
            return self.device, self.precision
        return self.device, self.precision, "CUDA graph" if self.facts["graph"] == "captured" else "eager"

    def _open(self, event: e.RunStarted | e.RunResumed) -> None:
        self.config, self.facts = dict(event.config), dict(event.facts)
        self.device, self.threads, self.precision = event.device, event.threads, event.precision
        self.knobs = {name: self.config.get(name) for name in ("lr", "clip", "temperature", "prompt", "steps")}
        if self.knobs["clip"] == "auto":
            self.knobs["clip"] = 0.0
        self.knobs.update(self.facts.get("knobs", {}))
        self.guard = str(self.facts.get("guard", self.config.get("on_divergence", "")))
        self.status, self.ended = "running", ""
        if isinstance(event, e.RunResumed):
            self._cut(event.step)
            if not len(self.losses):  # what came before is not known here: the curves begin where it goes on
                self.losses.first_step = self.grad_norms.first_step = event.step + 1
            self.branch, self.step = event.branch, event.step
        self._forget_recent()

    def _learned(self, event: e.StepsDone) -> None:
        self.branch, self.step = event.branch, event.first_step + len(event.loss) - 1
        self.epoch = event.epoch
        self.loss.extend(np.array(event.loss))
        self.grad_norm.extend(np.array(event.grad_norm))
        self.clipped.extend(np.array(event.clipped, dtype=float))
        self.losses.extend(np.array(event.loss))
        self.grad_norms.extend(np.array(event.grad_norm))
        for name, values in event.norms.items():
            if not values:
                continue  # a short drain of a thinned run
            finite = [v for v in values if np.isfinite(v)]
            self._group(name, np.array([np.median(finite) if finite else np.nan]))
        if event.lr:
            self.lr_in_force = event.lr[-1]
        self.trained_seconds += event.seconds
        self._speed.append((event.seconds, len(event.loss)))
        while len(self._speed) > 1 and sum(s for s, _ in self._speed) - self._speed[0][0] > SPEED_OVER:
            self._speed.popleft()

    def _group(self, name: str, values: np.ndarray[Any, Any]) -> None:
        self.norms.setdefault(name, Ring(GROUP_DRAINS)).extend(values)

    def _leave(self, branch: int) -> None:
        self.ghost = (branch, copy.deepcopy(self.losses), copy.deepcopy(self.grad_norms))

    def _cut(self, step: int) -> None:
        self.losses.cut(step)
        self.grad_norms.cut(step)
        self.evaluations = [(at, loss) for at, loss in self.evaluations if at <= step]
        self.parts = [(at, loss) for at, loss in self.parts if at <= step]

    def _return(self, branch: int, step: int) -> None:
        left, here = self.ghost, self.branch
        self._leave(here)
        if left is not None and left[0] == branch:
            self.losses, self.grad_norms = left[1], left[2]
        self._cut(step)

    def _forget_recent(self) -> None:
        self.loss, self.grad_norm, self.clipped = Ring(RECENT), Ring(RECENT), Ring(RECENT)
        self._speed.clear()

