"""Carries out interventions in a run: knobs, rollback, undo, landing. Knows no schedule of its own.

Each intervention first takes a pinned snapshot. Everything here happens at a step boundary, in the training thread.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.engine.choice import PointFinder
from tuitrain.engine.progress import progress_of
from tuitrain.engine.restore_points import MemoryPoint, RestorePoints
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steered import Reports, Steered
from tuitrain.errors import Refused
from tuitrain.knobs import AUTO, Knobs, Value
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import (
    EngineSaid,
    Event,
    KnobChanged,
    LandingStarted,
    PromptChanged,
    RolledBack,
    SnapshotDropped,
    SnapshotTaken,
    Undone,
)
from tuitrain.run.folder import Folder
from tuitrain.telemetry.sentences import shown, turned
from tuitrain.telemetry.units import many, size

MOVED = 0.2
"""Relative difference from the advice at which an automatic clip is changed; each change is reported."""
ADVISED_EVERY = 250
"""Steps between checks of an automatic clip."""
FARTHEST = 10**12
"""A step that no run reaches: a larger number is a slip or an attack."""
MOST_SKIPPED = 1_000_000
"""Batches that a rollback may pass over."""
CLIP = ("clip", "clip_auto")
"""Knobs that are one to a person: undo takes both back."""
ONE_TURN = 1.0
"""Seconds within which changes of the same knob count as one intervention."""


@dataclass(slots=True)
class Intervention:
    """What undo needs: a description, knobs and schedule from before the intervention, and the snapshot taken then."""

    name: str
    description: str
    knobs: Knobs
    schedule: dict[str, Any]
    point: str
    """The name of a restore point; the point itself may be dropped when memory is short."""
    at: float


@dataclass(frozen=True, slots=True)
class Trained:
    """Steps that were trained elsewhere from a restore point of this run, and the state they ended with."""

    arm: str
    """The folder of them."""
    point: str
    branch: int
    step: int
    """Of the restore point; `lineage` leads to it, as in Progress."""
    lineage: list[list[int]]
    knobs: dict[str, Any]
    """In force from the point on."""
    moments: float
    events: tuple[Event, ...]
    """What was told of the steps, oldest first."""
    end: Snapshot


class Steering:
    """Carries out commands and yields the resulting events. Methods raise Refused for what cannot be done."""

    def __init__(self, machine: Steered, points: RestorePoints, place: Folder, run: str, reporter: Reports,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._points = machine, points
        self.choice = PointFinder(machine, points, place, run)
        self._reporter, self._clock = reporter, clock
        machine.make_room = self._make_room
        self._dropped: list[MemoryPoint] = []
        self._wanted = 0
        self._done: list[Intervention] = []
        self.branches = machine.progress.branch + 1

    def snapshot(self, reason: str, *, pinned: bool = False, id: str = "", by: str = "") -> Iterator[Event]:
        """Take a snapshot of the present state in memory."""
        yield from self._take(reason, pinned, id, by)[1]

    def set_knob(self, command: c.SetKnob) -> Iterator[Event]:
        """Set a knob; a clip may be `auto`."""
        if command.name == "clip" and command.value == AUTO:
            yield from self._turn(command, "clip_auto", self._machine.knobs.turned("clip", AUTO))
            yield from self.follow_advice()
            return
        yield from self._turn(command, command.name, self._machine.knobs.turned(command.name, command.value))

    def scale_knob(self, command: c.ScaleKnob) -> Iterator[Event]:
        """Multiply a knob's present value by a factor."""
        yield from self._turn(command, command.name, self._machine.knobs.scaled(command.name, command.factor))

    def set_prompt(self, command: c.SetPrompt) -> Iterator[Event]:
        """Change the prompt of samples."""
        old = self._machine.knobs
        new = old.turned("prompt", command.text)
        if new == old:
            yield _already("the prompt", new.prompt, command)
            return
        yield from self._intervene("prompt", f"prompt {new.prompt!r}", command.by)
        self._machine.knobs = new
        yield PromptChanged(**self._here(), old=old.prompt, new=new.prompt, id=command.id, by=command.by)

    def land(self, command: c.Land) -> Iterator[Event]:
        """Decay the learning rate to almost zero over the next steps."""
        step = self._machine.progress.step
        steps = command.steps if command.steps is not None else max(100, step // 10)
        if not 1 <= steps <= FARTHEST:
            raise Refused(f"land {steps}: give a number of steps of 1 or more, at most {FARTHEST:,}")
        yield from self._intervene("land", f"landing over {steps:,} steps", command.by)
        self._machine.schedule.land(step, steps)
        yield LandingStarted(**self._here(), steps=steps, id=command.id, by=command.by)

    def rollback(self, command: c.Rollback) -> Iterator[Event]:
        """Restore a point on a new branch, then set the knobs: those in force, or those in the command."""
        yield from self._reporter.flush()
        machine = self._machine
        snapshot, name = self.choice.chosen(command)
        before, tip = machine.knobs, machine.progress
        knobs = replace(before)
        if command.clip is not None:
            knobs = knobs.turned("clip", command.clip)
            if command.by == askers.GUARD:
                knobs = replace(knobs, clip_auto=before.clip_auto)
        if command.clip_factor is not None:
            knobs = knobs.scaled("clip", command.clip_factor)
        if command.lr is not None:
            knobs = knobs.turned("lr", command.lr)
        if command.lr_factor is not None:
            there = float(snapshot.values["knobs"]["lr"])
            knobs = replace(knobs, lr=min(there, before.lr)).scaled("lr", command.lr_factor)
        if not 0 <= command.skip_batches <= MOST_SKIPPED:
            raise Refused(f"skip_batches must be 0 or more, at most {MOST_SKIPPED:,}")
        yield from self._intervene("rollback", f"rollback from step {tip.step:,} to {snapshot.step:,}", command.by)
        self._open_branch(snapshot, knobs)
        machine.cursor.skip(command.skip_batches)
        yield RolledBack(from_branch=tip.branch, from_step=tip.step, to_step=snapshot.step,
                         branch=machine.progress.branch, id=command.id, by=command.by,
                         knobs=plain(asdict(knobs)), asked=command.to, point=name,
                         parent=machine.progress.parent, skip_batches=command.skip_batches)
        if command.clip == "auto":
            yield from self.follow_advice()

    def take_over(self, command: c.ChooseArm, trained: Trained) -> Iterator[Event]:
        """Go on after steps that were trained elsewhere, on a new branch that holds them. Undone like a rollback."""
        yield from self._reporter.flush()
        machine, tip = self._machine, self._machine.progress
        yield from self._intervene("rollback", f"rollback from step {tip.step:,} to an arm from {trained.step:,}",
                                   command.by)
        machine.thaw(trained.end)
        progress = machine.progress
        progress.lineage = [*trained.lineage, [trained.branch, trained.step]]
        progress.branch, self.branches = self.branches, self.branches + 1
        self._reporter.moved()
        yield RolledBack(from_branch=tip.branch, from_step=tip.step, to_step=trained.step, branch=progress.branch,
                         id=command.id, by=command.by, knobs=trained.knobs, asked=None, point=trained.point,
                         parent=trained.branch, arm=trained.arm, moments=trained.moments)
        for event in trained.events:
            yield replace(event, branch=progress.branch)  # type: ignore[call-arg]

    def undo(self, command: c.Undo) -> Iterator[Event]:
        """Undo the last intervention."""
        if not self._done:
            raise Refused("there is nothing to undo")
        yield from self._reporter.flush()
        last = self._done[-1]
        machine, parent = self._machine, None
        point = self._points.get(last.point) if last.name == "rollback" or command.weights else None
        if point is None and (last.name == "rollback" or command.weights):
            raise Refused("the snapshot from before that intervention is no longer in memory")
        self._done.pop()
        if point is not None and last.name == "rollback":
            # Back to the branch that was left: it continues where it ended, with the knobs it had.
            machine.thaw(point.snapshot)
            self._reporter.moved()
        elif point is not None:
            self._open_branch(point.snapshot, last.knobs)
            parent = machine.progress.parent
        elif last.name == "land":
            machine.schedule.restore(last.schedule)
        else:
            names = CLIP if last.name in CLIP else (last.name,)
            machine.knobs = replace(machine.knobs, **{name: getattr(last.knobs, name) for name in names})
        what = last.description + (", weights too" if command.weights else "")
        yield Undone(id=command.id, by=command.by, what=what, **self._here(), knobs=plain(asdict(machine.knobs)),
                     parent=parent, point="" if point is None else point.name,
                     schedule=plain(machine.schedule.state()))

    def correct_steps(self, steps: int, by: str) -> Iterator[Event]:
        """Set the last step of a run in minutes to a new estimate; not an intervention, so not undoable."""
        old = self._machine.knobs
        self._machine.knobs = old.turned("steps", steps)
        yield KnobChanged(**self._here(), name="steps", old=float(old.steps), new=float(steps), id="", by=by)

    def attend(self) -> Iterator[Event]:
        """Adjust an automatic clip every few steps, by step number alone, so that a resumed run does the same."""
        yield from self._report_dropped()
        if self._machine.knobs.clip_auto and self._machine.progress.step % ADVISED_EVERY == 0:
            yield from self._reporter.flush()
            yield from self.follow_advice()

    def follow_advice(self) -> Iterator[Event]:
        """Set the clip to what the run's own norms advise if that differs by more than a fifth."""
        machine = self._machine
        config, knobs = machine.config, machine.knobs
        found = advise(machine.norms.astype(float), knobs.clip, config.optimizer, (config.betas[0], config.betas[1]))
        if found is None or abs(found.value - knobs.clip) <= MOVED * knobs.clip:
            return
        machine.knobs = replace(knobs, clip=found.value)
        yield KnobChanged(**self._here(), name="clip", old=knobs.clip, new=found.value, id="", by=askers.ADVISOR)

    def pin(self, command: c.PinSnapshot) -> Iterator[Event]:
        """Pin the newest snapshot in memory at or before a step."""
        if not 0 <= command.to <= FARTHEST:
            raise Refused(f"step {command.to:,} is out of range")
        point = self.choice.in_memory(command.to)
        if point is None:
            raise Refused(f"no restore point in memory at or before step {command.to:,}")
        self._points.pin(point)
        yield SnapshotTaken(branch=point.snapshot.branch, step=point.snapshot.step, id=command.id, by=command.by,
                            reason="kept from before a warning", pinned=True, bytes=point.snapshot.bytes,
                            point=point.name, healthy=progress_of(point.snapshot.values).healthy)

    def _turn(self, command: c.SetKnob | c.ScaleKnob, name: str, new: Knobs) -> Iterator[Event]:
        if name == "prompt":
            raise Refused("the prompt is set with `prompt TEXT`")
        old = self._machine.knobs
        was, will = getattr(old, name), getattr(new, name)
        if name == "steps" and 0 < will < self._machine.progress.step:
            raise Refused(f"step {will:,} has passed; the run is at {self._machine.progress.step:,}")
        if new == old:
            yield _already("clip", "auto", command) if name == "clip_auto" else _already(name, will, command)
            return
        joined = self._joined(name)
        since = None if joined is None else _value(getattr(joined.knobs, name))
        if joined is None:
            yield from self._intervene(name, turned(name, was, will), command.by)
        else:
            joined.at, joined.description = self._clock(), turned(name, since, will)
        self._machine.knobs = new
        if old.clip_auto and not new.clip_auto:
            yield KnobChanged(**self._here(), name="clip_auto", old=1.0, new=0.0, id="", by=command.by)
        yield KnobChanged(**self._here(), name=name, old=_value(was), new=_value(will), id=command.id,
                          by=command.by, since=since)

    def _joined(self, name: str) -> Intervention | None:
        """Return the last intervention if another change of the knob now belongs to it."""
        last = self._done[-1] if self._done else None
        return last if last is not None and last.name == name and self._clock() - last.at < ONE_TURN else None

    def _intervene(self, name: str, description: str, by: str) -> Iterator[Event]:
        point, events = self._take(f"before {description}", True, "", by)
        yield from events
        machine = self._machine
        self._done.append(Intervention(name, description, machine.knobs, machine.schedule.state(), point.name,
                                       self._clock()))
        del self._done[:-50]

    def _take(self, reason: str, pinned: bool, id: str, by: str) -> tuple[MemoryPoint, list[Event]]:
        snapshot = self._machine.freeze()
        events = list(self._report_dropped())
        point, dropped = self._points.add(snapshot, reason, pinned=pinned)
        events += [SnapshotTaken(
            branch=snapshot.branch, step=snapshot.step, id=id, by=by, reason=reason, pinned=pinned,
            bytes=snapshot.bytes, point=point.name, healthy=progress_of(snapshot.values).healthy)]
        events += map(_snapshot_dropped, dropped)
        return point, events

    def _make_room(self, bytes: int) -> bool:
        point = self._points.drop_one(bytes)
        if point is None:
            return False
        self._dropped.append(point)
        self._wanted = bytes
        return True

    def _report_dropped(self) -> Iterator[Event]:
        """Report the points that were dropped because memory ran out."""
        dropped, self._dropped = self._dropped, []
        if not dropped:
            return
        yield from map(_snapshot_dropped, dropped)
        yield EngineSaid(level="warning", text=(
            f"no memory for a snapshot of {size(self._wanted)}: dropped {many(len(dropped), 'restore point')} of "
            f"{size(sum(p.snapshot.bytes for p in dropped))}, {len(self._points)} left; from now on they may take "
            f"{size(self._points.budget)}"))

    def _open_branch(self, snapshot: Snapshot, knobs: Knobs) -> None:
        machine = self._machine
        machine.thaw(snapshot)
        progress = machine.progress
        progress.lineage.append([progress.branch, progress.step])
        progress.branch, self.branches = self.branches, self.branches + 1
        machine.knobs = knobs
        self._reporter.moved()

    def _here(self) -> dict[str, int]:
        return {"branch": self._machine.progress.branch, "step": self._machine.progress.step}


def _snapshot_dropped(point: MemoryPoint) -> SnapshotDropped:
    return SnapshotDropped(branch=point.snapshot.branch, step=point.snapshot.step, point=point.name)


def _already(name: str, value: Value, command: c.Command) -> EngineSaid:
    """Return the answer to a command that would change nothing, and so is no intervention."""
    return EngineSaid(text=f"{name} is {shown(name, value)} already", id=command.id, by=command.by)


def _value(value: Any) -> Value:
    return value if isinstance(value, tuple | str) else float(value)
