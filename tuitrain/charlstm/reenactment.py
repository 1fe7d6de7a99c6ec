"""Train a run again with every intervention at its step, and compare its losses bit for bit with the journal's.

The journal is the script: it says what the knobs were set to and after which step, what was restored, and what every
loss was. Nothing is decided anew: automatic changes are taken from it, too. Writes nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuitrain.charlstm import repeats
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model.moments import scale_moments
from tuitrain.charlstm.start import building, hardware, reading, sealing
from tuitrain.engine.progress import knobs_of
from tuitrain.engine.snapshot import Snapshot
from tuitrain.errors import RunError
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.checkpoints import params_hash
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.lineage import Place, branch_on_disk

DRAIN = 256
"""Steps between two readings of the losses."""
ACTS = (e.KnobChanged, e.PromptChanged, e.RolledBack, e.Undone, e.LandingStarted)
"""What somebody does to a run; those with an `id` answer a person, a script or the guard."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first number that is not the journal's: a `loss`, a `grad norm`, or the hash of the `weights`."""

    what: str
    branch: int
    step: int
    there: float | str
    here: float | str


@dataclass(slots=True)
class Outcome:
    """What was done and compared. `first` is None if every number was the journal's."""

    steps: int = 0
    compared: int = 0
    """Losses and norms."""
    weights: int = 0
    """Checkpoints whose weights were compared."""
    branches: set[int] = field(default_factory=lambda: {0})
    acts: Counter[str] = field(default_factory=Counter)
    """Interventions by kind."""
    remarks: list[str] = field(default_factory=list)
    """Why numbers may differ, if there is a reason."""
    first: Difference | None = None


@dataclass(slots=True)
class _Script:
    """What must be known before training begins: which states will be restored, and what the weights were."""

    last: int = 0
    """Steps in the journal, over all branches."""
    points: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(process, name) of every restore point that is used, and how often."""
    hashes: dict[Place, str] = field(default_factory=dict)
    places: dict[Place, list[tuple[str, str]]] = field(default_factory=dict)
    """Where the used checkpoints on disk are taken: their names and reasons."""


def reenact(run: RunDirectory, *, steps: int = 0, corpus_path: str | None = None,
            told: Callable[[int, int], None] = lambda step, last: None) -> Outcome:
    """Train the run again, the first `steps` steps of it (0: all), up to the first difference.

    `told` is called a few times a second with the steps trained and those in all. Raises TuitrainError.
    """
    kept = run.read_config()
    config = sealing.sealed(run, kept)
    text = reading.read_again(run, kept, config, corpus_path)
    outcome = Outcome()
    config = hardware.choose_again(config, text, outcome.remarks.append)
    machine = building.build(config, text)
    machine.start_training_thread()
    if why := repeats.why_not_exact(kept, config):
        outcome.remarks.append(f"numbers may differ from those of the run: {why}")
    stage = _Stage(machine, _script(run), outcome, steps, told)
    for event, _ in journal.read(run.journal):
        stage.play(event)
        if outcome.first is not None or stage.full:
            break
    return outcome


def _script(run: RunDirectory) -> _Script:
    script, process, saved = _Script(), 0, {}
    kinds = (e.StepsDone, e.RolledBack, e.Undone, e.RunResumed, e.RunStarted, e.CheckpointSaved)
    for event, _ in journal.read(run.journal, kinds=kinds):
        match event:
            case e.StepsDone():
                script.last += len(event.loss)
            case e.CheckpointSaved():
                name = event.path.rpartition("/")[2].partition(".")[0]
                saved[name] = (event.branch, event.step, event.reason)
                script.hashes[event.branch, event.step] = event.params_sha256
            case e.RolledBack() | e.Undone() if event.point:
                script.points[process, event.point] += 1
            case e.RunResumed():
                process += 1
                script.points[process, event.checkpoint] += 1
    for (_, name), _count in script.points.items():
        if name in saved:
            branch, step, reason = saved[name]
            script.places.setdefault((branch, step), []).append((name, reason))
    return script


class _Stage:
    """The machine, moved by the events of the journal in their order."""

    def __init__(self, machine: Machine, script: _Script, outcome: Outcome, most: int,
                 told: Callable[[int, int], None]) -> None:
        self._machine, self._script, self._outcome, self._told = machine, script, outcome, told
        self._last = min(most, script.last) if most else script.last
        self._process = 0
        self._points: dict[tuple[int, str], Snapshot] = {}
        self._rows: list[tuple[int, NDArray[np.float32]]] = []
        """(first step, rows [steps, 2]) that the journal has not told yet."""
        self._undrained = 0
        self._next = 0.0

    @property
    def full(self) -> bool:
        """Whether as many steps were trained as were asked for."""
        return self._outcome.steps >= self._last > 0 and self._last < self._script.last

    def play(self, event: e.Event) -> None:
        """Do what the event says was done."""
        machine = self._machine
        if isinstance(event, ACTS) and e.id_of(event):
            self._outcome.acts[type(event).__name__] += 1
        match event:
            case e.RunStarted():
                self._turn(event.facts.get("knobs"))
            case e.StepsDone():
                self._reach(event.branch, event.first_step + len(event.loss) - 1)
                self._compare(event)
            case e.SnapshotTaken() if self._wants(self._process, event.point):
                self._reach(event.branch, event.step)
                self._keep(event.point)
            case e.KnobChanged():
                self._reach(event.branch, event.step)
                self._set(event.name, event.new)
            case e.LandingStarted():
                self._reach(event.branch, event.step)
                self._keep_here(e.INTERVAL)
                machine.schedule.land(event.step, event.steps)
            case e.Evaluated(part=False, reason=e.INTERVAL | e.EPOCH):
                if machine.config.lr_schedule == "plateau":  # only then is it measured at its own step
                    self._reach(event.branch, event.step)
                    machine.schedule.evaluated(event.loss)
            case e.RolledBack():
                self._reach(event.from_branch, event.from_step)
                self._restore(event.point, event.branch, event.to_step)
                machine.cursor.skip(event.skip_batches)
                scale_moments(machine.optimizer.tensors(), event.moments)
                self._turn(event.knobs)
            case e.Undone():
                self._undo(event)
            case e.RunResumed():
                self._resume(event)

    def _undo(self, event: e.Undone) -> None:
        progress = self._machine.progress
        if event.point:
            self._restore(event.point, event.branch, event.step)
        elif event.schedule:
            self._reach(event.branch, event.step)
            self._machine.schedule.restore(dict(event.schedule))
        elif (event.branch, event.step) != (progress.branch, progress.step) or event.what.startswith("landing"):
            raise RunError(f"the journal does not say what undoing {event.what!r} restored: an older version wrote it; "
                           f"`--steps {self._outcome.steps}` trains up to there")
        self._turn(event.knobs)

    def _resume(self, event: e.RunResumed) -> None:
        """Go on from a checkpoint, as another process did; what no process told is not known."""
        if not event.exact and event.why_not:
            self._outcome.remarks.append(f"the run itself did not go on exactly at step {event.step:,}: "
                                         f"{event.why_not}")
        self._process += 1
        branch = branch_on_disk(event.checkpoint)
        progress = self._machine.progress
        if (branch, event.step) == (progress.branch, progress.step):
            progress.branch = event.branch
            self._outcome.branches.add(event.branch)
            self._forget()
        else:
            self._restore(event.checkpoint, event.branch, event.step)
        self._turn(event.facts.get("knobs"))

    def _reach(self, branch: int, step: int) -> None:
        """Train up to a step of the present branch; one that has passed changes nothing."""
        machine = self._machine
        if branch != machine.progress.branch:
            raise RunError(f"the journal goes on at step {step:,} of branch {branch} and does not say how it came "
                           "there: lines of it are missing (`tuitrain verify` counts the damaged ones)")
        while machine.progress.step < step and not self.full:
            self._keep_here()
            machine.learn()
            self._outcome.steps += 1
            self._undrained += 1
            if self._undrained >= DRAIN:
                self._drain()
            if (branch, machine.progress.step) in self._script.places:
                self._keep_here("best")
            self._weights((branch, machine.progress.step))
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + 0.2
                self._told(self._outcome.steps, self._last)

    def _keep_here(self, reason: str = "") -> None:
        """Keep the used checkpoints of this place: those of a reason, or all that have not been kept."""
        progress = self._machine.progress
        for name, why in self._script.places.get((progress.branch, progress.step), ()):
            if not reason or why == reason:
                self._keep(name)

    def _wants(self, process: int, name: str) -> bool:
        """Whether a restore point will be used and is not kept yet."""
        return self._script.points[process, name] > 0 and (process, name) not in self._points

    def _keep(self, name: str) -> None:
        # A name in memory is that of one process, a name on disk that of all.
        for process, known in list(self._script.points):
            if known == name and self._wants(process, name) and (
                    branch_on_disk(name) is not None or process == self._process):
                self._points[process, name] = self._machine.freeze()

    def _restore(self, name: str, branch: int, step: int) -> None:
        if self.full:
            return
        key = (self._process, name)
        self._keep_here()
        if key not in self._points:
            raise RunError(f"the journal does not say when the restore point {name} of step {step:,} was taken; "
                           f"`--steps {self._outcome.steps}` trains up to there")
        self._drain()
        self._machine.thaw(self._points[key])
        self._machine.progress.branch = branch
        self._outcome.branches.add(branch)
        self._forget()
        self._script.points[key] -= 1
        if not self._script.points[key]:
            del self._points[key]

    def _forget(self) -> None:
        self._drain()
        self._rows.clear()
        self._machine.instruments.forget()

    def _drain(self) -> None:
        first = self._machine.progress.step - self._undrained + 1
        for window in self._machine.rows.drain(time.monotonic, wait=True):
            self._rows.append((first, window.rows[:, :2].copy()))
            first += len(window.rows)
        self._undrained = 0

    def _turn(self, knobs: Mapping[str, Any] | None) -> None:
        if knobs:
            self._machine.knobs = knobs_of({"knobs": knobs})

    def _set(self, name: str, value: Any) -> None:
        now = self._machine.knobs
        kind = type(getattr(now, name))
        changed: dict[str, Any] = {name: tuple(value) if kind is tuple else kind(value)}
        self._machine.knobs = replace(now, **changed)

    def _compare(self, event: e.StepsDone) -> None:
        self._drain()
        last = min(event.first_step + len(event.loss) - 1, self._machine.progress.step)
        there = np.array([event.loss, event.grad_norm], dtype=np.float32).T
        for first, rows in self._rows:
            low, high = max(first, event.first_step), min(first + len(rows) - 1, last)
            if low > high:
                continue
            here = rows[low - first : high - first + 1]
            told = there[low - event.first_step : high - event.first_step + 1]
            same = (here == told) | (np.isnan(here) & np.isnan(told))
            self._outcome.compared += same.size
            if not same.all() and self._outcome.first is None:
                step, column = np.argwhere(~same)[0].tolist()
                self._outcome.first = Difference(("loss", "grad norm")[column], event.branch, low + step,
                                                 float(told[step, column]), float(here[step, column]))
        self._rows = [(first, rows) for first, rows in self._rows if first + len(rows) - 1 > last]

    def _weights(self, place: Place) -> None:
        there = self._script.hashes.get(place)
        if not there or self._outcome.first is not None:
            return
        here = params_hash({name: t.cpu().numpy() for name, t in self._machine.state().tensors.items()})
        self._outcome.weights += 1
        if here != there:
            self._outcome.first = Difference("weights", *place, there[:12], here[:12])
