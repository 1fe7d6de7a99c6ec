"""Did that help? A control is trained without an intervention, from the last checkpoint before it, and compared.

What else was turned between the checkpoint and the intervention is turned again; whether the control's way there is
the run's, bit for bit, is checked against the journal.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuitrain.errors import CheckpointError, RunError
from tuitrain.futures import points
from tuitrain.futures.comparing import Difference, of_steps
from tuitrain.futures.points import Point
from tuitrain.futures.reading import WHOLE, Reading
from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.lineage import Lineage, Place, branch_on_disk
from tuitrain.telemetry.sentences import sentence
from tuitrain.telemetry.units import BITS, many

STEPS, LEAST = 500, 50
"""Steps over which an intervention is judged, and the fewest."""
KNOBS = ("lr", "clip", "clip_auto", "steps")
"""The knobs that change what is trained."""
JUDGED = ("lr", "clip", "clip_auto")
Act = e.KnobChanged | e.RolledBack | e.LandingStarted | e.Undone | e.RunResumed


@dataclass(frozen=True, slots=True)
class Mark:
    """An intervention: everything that was asked for after one step of a branch."""

    branch: int
    step: int
    acts: tuple[Act, ...]

    @property
    def words(self) -> str:
        """In words, with who asked."""
        by = next((e.by_of(act) for act in self.acts if e.by_of(act)), "")
        return ", ".join(filter(None, map(sentence, self.acts))) + (f" by {by}" if by else "")

    @property
    def rollback(self) -> e.RolledBack | None:
        """The rollback, if it is one."""
        return next((act for act in self.acts if isinstance(act, e.RolledBack)), None)

    @property
    def origin(self) -> Place:
        """The branch and the step from which the run would have gone on without it."""
        back = self.rollback
        return (back.from_branch, back.from_step) if back else (self.branch, self.step)


@dataclass(slots=True)
class History:
    """What a journal says of losses and interventions."""

    losses: dict[int, dict[int, float]] = field(default_factory=dict)
    """By branch and step."""
    acts: list[Act] = field(default_factory=list)
    alarms: list[Place] = field(default_factory=list)
    lineage: Lineage = field(default_factory=Lineage)

    @classmethod
    def of(cls, run: RunDirectory) -> "History":
        """Read it. Raises RunError."""
        found = cls()
        for event, _ in journal.read(run.journal):
            found.lineage.fold(event, branch_on_disk)
            match event:
                case e.StepsDone():
                    steps = found.losses.setdefault(event.branch, {})
                    steps.update({event.first_step + i: loss for i, loss in enumerate(event.loss)})
                case e.KnobChanged() if event.name in KNOBS:
                    found.acts.append(event)
                case e.RolledBack() | e.LandingStarted() | e.Undone() | e.RunResumed():
                    found.acts.append(event)
                case f.AlarmRaised():
                    found.alarms.append((event.branch, event.step))
        return found

    def marks(self) -> list[Mark]:
        """The interventions that can be judged, oldest first."""
        found: dict[Place, list[Act]] = {}
        for act in self.acts:
            if _judged(act):
                found.setdefault((e.branch_of(act, 0), e.step_of(act, 0)), []).append(act)
        return [Mark(*place, tuple(acts)) for place, acts in found.items()]

    def after(self, mark: Mark) -> list[float]:
        """The losses of the run after a mark, at most STEPS, up to the next intervention on its branch."""
        told = self.losses.get(mark.branch, {})
        later = [e.step_of(act, 0) for act in self.acts
                 if e.branch_of(act, 0) == mark.branch and e.step_of(act, 0) > mark.step and _asked(act)]
        last = min([mark.step + STEPS, *later])
        steps = []
        for step in range(mark.step + 1, last + 1):
            if step not in told:
                break
            steps.append(told[step])
        return steps

    def broke(self, branch: int, step: int, steps: int) -> bool:
        """Whether an alarm was raised on a branch within some steps."""
        return any(b == branch and step < s <= step + steps for b, s in self.alarms)

    def turns(self, mark: Mark, begin: Place) -> dict[int, dict[str, Any]]:
        """What was turned on the line from a checkpoint to a mark, and what the mark's own knobs were before it."""
        path = {s.branch: (s.first, s.last) for s in self.lineage.path(mark.origin)}
        found: dict[int, dict[str, Any]] = {}
        for act in self.acts:
            branch, step = e.branch_of(act, 0), e.step_of(act, 0)
            first, last = path.get(branch, (1, 0))
            budget = e.by_of(act) == askers.BUDGET  # whose estimates come by the clock: a control makes none
            last = mark.step + STEPS if budget and branch == mark.branch else last
            if act in mark.acts or not (first - 1 <= step <= last and begin[1] <= step and (_asked(act) or budget)):
                continue
            values = found.setdefault(step, {})
            match act:
                case e.KnobChanged():
                    values |= _knob(act.name, act.new)
                case e.LandingStarted() if step > begin[1]:
                    values["land"] = act.steps
                case e.RolledBack() | e.Undone():
                    values |= _knobs(act.knobs)
                case e.RunResumed():
                    values |= _knobs(act.facts.get("knobs", {}))
        for act in reversed(mark.acts):
            if isinstance(act, e.KnobChanged):  # the checkpoint may have been written after it, at the same step
                found.setdefault(mark.step, {}).update(_knob(act.name, act.old))
        return found


def _asked(act: Act) -> bool:
    """Whether somebody made it: an automatic clip moves by itself, and will in the control."""
    return e.by_of(act) not in (askers.ADVISOR, askers.BUDGET)


def _judged(act: Act) -> bool:
    return _asked(act) and (isinstance(act, e.RolledBack | e.LandingStarted) or (
        isinstance(act, e.KnobChanged) and act.name in JUDGED))


def _knob(name: str, value: Any) -> dict[str, Any]:
    return {name: {"clip_auto": bool, "steps": int}.get(name, float)(value)}


def _knobs(told: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in KNOBS:
        if name in told:
            found |= _knob(name, told[name])
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be trained to judge a mark: from a point to the mark's origin, and `steps` on."""

    mark: Mark
    point: Point
    steps: int
    turns: dict[int, dict[str, Any]]

    @property
    def length(self) -> int:
        """Steps of the control in all."""
        return self.mark.origin[1] - self.point.step + self.steps


def find(history: History, at: int | None) -> Mark:
    """The newest intervention; with `at` that of this step, or the last before it. Raises RunError."""
    marks = [mark for mark in history.marks() if at is None or mark.step <= at]
    if not marks:
        where = "" if at is None else f" at or before step {at:,}"
        raise RunError(f"there is no change of lr or clip, landing or rollback{where} to be judged")
    return marks[-1] if at is None else max(marks, key=lambda mark: (mark.step, mark.branch))


def question(run: RunDirectory, history: History, mark: Mark) -> Question:
    """How a mark is judged. Raises RunError or CheckpointError if it cannot be."""
    steps = len(history.after(mark))
    if steps < LEAST:
        raise RunError(f"{mark.words}: {many(steps, 'step')} up to the next intervention or the end; at least {LEAST} "
                       "are needed to see anything")
    path = {s.branch: s.last for s in history.lineage.path(mark.origin)}
    landed = any(isinstance(act, e.LandingStarted) for act in mark.acts)
    fitting = [k for k in checkpoints.list_all(run.checkpoints, str(run.read_config().get("run", "")))
               if k.step <= min(path.get(k.branch, -1), mark.origin[1] - landed)]
    if not fitting:
        raise CheckpointError(f"no checkpoint from before step {mark.origin[1]:,} is left; --keep 0 keeps all, and "
                              "`k` keeps one")
    newest = max(fitting, key=lambda k: (k.step, checkpoints.written(k)))
    return Question(mark, points.of_checkpoint(newest, run), steps,
                    history.turns(mark, (newest.branch, newest.step)))


def answer(history: History, asked: Question, control: Reading, unit: LossUnit = BITS) -> f.InterventionJudged:
    """Judge a mark by its control."""
    mark, back = asked.mark, asked.mark.rollback
    begin = mark.origin[1] - asked.point.step
    without, ours = control.losses[begin:], history.after(mark)
    difference = _apart(ours, without) if back else of_steps(ours, without)
    steps = min(len(ours), len(without))
    broke = any(step > mark.origin[1] for _, step, _ in control.signs) and bool(control.alarms)
    held = not history.broke(mark.branch, mark.step, steps)
    word = f.NO_DIFFERENCE
    if difference.seen:
        word = f.HELPED if difference.value < 0 else f.HURT
    said = f"over {steps:,} steps the loss differs by {difference.words(unit)} {unit.short} from a control without it"
    if broke and held:
        word, said = f.HELPED, said + ", in which training broke"
    if back:
        said += "; a rollback reads other batches, so they are not compared one by one"
    if control.state != WHOLE:
        said += f"; the control was cut after {many(control.done, 'step')}"
    if not _same_way(history, asked, control):
        said += "; the way to it could not be repeated bit for bit, so part of the difference may be chance"
    return f.InterventionJudged(branch=mark.branch, step=mark.step, what=mark.words, word=word,
                                difference=difference.value, error=difference.error, steps=steps, paired=back is None,
                                sentence=said, by=askers.RACE)


def _apart(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The difference of means where the batches are not the same: both spreads count."""
    nothing = [0.0] * max(len(one), len(other))
    parts = [of_steps(losses, nothing) for losses in (one, other)]
    return Difference(parts[0].value - parts[1].value, math.hypot(parts[0].error, parts[1].error))


def _same_way(history: History, asked: Question, control: Reading) -> bool:
    """Whether the control's losses up to the mark are those of the run."""
    path = history.lineage.path(asked.mark.origin)
    firsts = [s.first for s in path]
    for i, loss in enumerate(control.losses[: asked.mark.origin[1] - asked.point.step]):
        step = asked.point.step + 1 + i
        branch = path[max(0, bisect_right(firsts, step) - 1)].branch
        if history.losses.get(branch, {}).get(step) != loss:
            return False
    return True


def answered(event: f.InterventionJudged, id: str, by: str) -> f.InterventionJudged:
    """The judgement as the answer to a command."""
    return replace(event, id=id, by=by)


def note(run: RunDirectory, event: f.InterventionJudged) -> None:
    """Add the answer to the journal of a run that nobody trains. Raises RunError if somebody does."""
    lock = run.lock()
    try:
        book = journal.Journal(run.journal)
        book.write(event)
        failed = book.close()
    finally:
        lock.release()
    if failed:
        raise RunError(f"{run.journal}: {failed}; the answer was not written")
