"""What a host does about the futures of its run: races, judgements, going on with an arm. Knows no front end.

Arms are trained by other processes, because torch has one random generator for all of a process and two runs in one
would change each other's numbers. On a CPU training stands meanwhile, unless the race was to share: arms and run would
only take each other's cores, and whoever races waits for the answer.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tuitrain.diagnosis import arms
from tuitrain.engine.choice import Restorable
from tuitrain.engine.steering import Steering
from tuitrain.engine.trainer import Trainer
from tuitrain.errors import Refused, TuitrainError
from tuitrain.futures import choosing, helping, proposing, race
from tuitrain.futures.cluster import Cluster
from tuitrain.futures.conducting import CANCELLED, Conductor, adopted, answered
from tuitrain.futures.jobs import Children, Place
from tuitrain.futures.points import Point
from tuitrain.futures.race import Plan, plan, step_seconds
from tuitrain.futures.training import SimpleAside
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory

CHOSEN = "arm chosen"
"""The reason of the checkpoint that follows."""
LOOKS = 30.0
"""Seconds between two looks at the load of the machine."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for its race to end."""


def places(name: str) -> Place:
    """The place of a name, empty for this machine. Raises UsageError."""
    return Cluster(name) if name else Children()


class Futures(SimpleAside):
    """An aside of the run in a folder; its arms are trained at `place`."""

    answers: tuple[type[c.Command], ...] = (c.StartRace, c.CutArm, c.CancelRace, c.ChooseArm, c.JudgeIntervention)

    def __init__(self, trainer: Trainer, run: RunDirectory, place: Place | None = None, *,
                 verifies: bool = False) -> None:
        """`verifies`: whether a rollback of the guard is judged by a control when the machine is idle."""
        self._trainer, self._run, self._place = trainer, run, place or Children()
        self._conductor: Conductor | None = None
        self._command: c.StartRace | c.JudgeIntervention | None = None
        """What is being carried out; the following are answered by the end of an arm and of the race."""
        self._cuts: dict[int, c.CutArm] = {}
        self._cancel: c.CancelRace | None = None
        self._stood = False
        """Whether training was paused for the race."""
        self._judged: tuple[helping.History, helping.Question] | None = None
        self._preparing: Preparing | None = None
        self._verify = Verify(trainer) if verifies else None
        for folder in choosing.races(run):
            conductor = adopted(run, folder, places)
            if conductor is not None and self._conductor is None:  # its jobs went on without a host
                self._conductor = conductor
                conductor.start()

    def attend(self, epoch: e.EpochEnded | None) -> Iterator[e.Event]:
        """Say what is new of the race; where none is, look whether a rollback of the guard is to be judged."""
        if self._conductor is not None or self._preparing is not None:
            return self._news()
        if self._verify is not None and (branch := self._verify.due()) is not None:
            self._preparing = Preparing(lambda: self._guards(branch))
        return iter(())

    def while_paused(self) -> Iterator[e.Event]:
        """Say what is new of the race."""
        return self.attend(None)

    def finish(self, everything: bool, until: float = 0.0) -> Iterator[e.Event]:
        """End the race with the run, unless its arms are trained elsewhere."""
        if self._conductor is None:
            return
        if self._conductor.place.lasts:
            self._conductor.leave()
        else:
            self._conductor.cancel()
        self._conductor.join(PATIENCE)
        yield from self._news()

    def answer(self, command: c.Command, steering: Steering) -> Iterator[e.Event]:
        """Carry out a command. Raises Refused."""
        match command:
            case c.ChooseArm():
                yield from self._choose(command, steering)
            case c.StartRace():
                yield from self._start(command, steering)
            case c.JudgeIntervention():
                self._free()
                self._command = command
                self._preparing = Preparing(lambda: self._question(command))
                yield e.WorkAdvanced(what="a control without it", done=0, of=1, answers=command.id)
            case c.CutArm() | c.CancelRace():
                if self._conductor is None:
                    raise Refused("no race is going on")
                if isinstance(command, c.CutArm):
                    if not self._conductor.cut(command.arm):
                        raise Refused(f"no arm {command.arm} is left to be cut")
                    self._cuts[command.arm] = command
                else:
                    self._cancel = command
                    self._conductor.cancel()

    def _free(self) -> None:
        if getattr(self._trainer.machine, "ranks", ()):
            raise Refused("several processes train this model together, and an arm is trained by one")
        if self._conductor is not None or self._preparing is not None:
            raise Refused("a race is going on: cancel it first")

    def _start(self, command: c.StartRace, steering: Steering) -> Iterator[e.Event]:
        self._free()
        name = command.point
        if not name:
            for event in steering.snapshot("race", pinned=True):
                yield event
                if isinstance(event, e.SnapshotTaken):
                    name = event.point
        point = self._point(name, steering)
        try:
            asked = [arms.parse(text) for text in command.arms if text.strip()] or (
                [] if command.arms else proposing.proposed(point))
            made = plan(point, arms.lined_up(asked, point.knobs), command.steps)
            if command.steps < 1:
                raise Refused(f"{command.steps} steps: give a number of 1 or more")
            place = places(command.on) if command.on else self._place
            folder = race.made_folder(made)
        except (TuitrainError, OSError) as error:
            raise Refused(str(error)) from None
        self._conductor = Conductor(made, folder, place)
        self._command = command
        stands = not command.shares and not place.lasts and not self._trainer.orders.paused
        yield self._conductor.begun(stands=stands, id=command.id, by=command.by)
        if stands:
            self._stood = True
            yield from self._trainer.orders.pause(self._answer())
        self._conductor.start()

    def _point(self, name: str, steering: Steering) -> Point:
        named = next((point for point in steering.choice.restorable() if point.name == name), None)
        if named is None:
            raise Refused(f"there is no restore point called {name}")
        return self._point_of(named, steering)

    def _point_of(self, named: Restorable, steering: Steering) -> Point:
        snapshot = steering.choice.fetch(named)
        values = self._trainer.saves.values(snapshot) if named.in_memory else dict(snapshot.values)
        return Point(self._run.path, named.name, snapshot.branch, snapshot.step, values, snapshot)

    def _choose(self, command: c.ChooseArm, steering: Steering) -> Iterator[e.Event]:
        if self._conductor is not None and self._stood:
            raise Refused("the race is going on: it can be chosen when it has ended, or cancel it first")
        yield from steering.take_over(command, choosing.read(self._run, command.arm))
        self._trainer.saves.submit(self._trainer.machine.freeze(), CHOSEN, pinned=True)

    def _question(self, command: c.JudgeIntervention) -> tuple[helping.History, helping.Question]:
        history = helping.History.of(self._run)
        marks = [mark for mark in history.marks() if mark.branch == command.branch and mark.step <= command.step]
        if not marks:
            raise Refused(f"there is no change of lr or clip, landing or rollback at step {command.step:,} of branch "
                          f"{command.branch} to be judged")
        return history, helping.question(self._run, history, marks[-1])

    def _guards(self, branch: int) -> tuple[helping.History, helping.Question]:
        """How the guard's rollback that opened a branch is judged. Raises Refused if it was not the guard's."""
        history = helping.History.of(self._run)
        mark = next((mark for mark in history.marks() if mark.branch == branch and mark.rollback is not None
                     and mark.rollback.by == askers.GUARD), None)
        if mark is None:
            raise Refused("nothing to verify")
        question = helping.question(self._run, history, mark)
        self._command = c.JudgeIntervention(id="", by=askers.GUARD, branch=branch, step=mark.step)
        return history, question

    def _news(self) -> Iterator[e.Event]:
        if self._preparing is not None and self._preparing.done:
            yield from self._prepared(self._preparing)
        conductor = self._conductor
        while conductor is not None and not conductor.news.empty():
            event = conductor.news.get()
            if isinstance(event, e.ArmAdvanced) and event.state and event.arm in self._cuts:
                yield answered(event, self._cuts.pop(event.arm))
            elif isinstance(event, e.RaceEnded):
                yield event if self._cancel is None else answered(event, self._cancel)
                self._conductor = self._cancel = None
                yield from self._over(conductor, event)
                return
            else:
                yield event

    def _prepared(self, preparing: "Preparing") -> Iterator[e.Event]:
        """Begin the control of a judgement, or say why there can be none."""
        self._preparing = None
        command = self._command
        if command is None:  # asked by nobody
            return
        assert isinstance(command, c.JudgeIntervention)
        if preparing.failed is not None:
            yield e.CommandRefused(id=command.id, by=command.by, reason=str(preparing.failed)[:500])
            return
        self._judged = preparing.found
        _, asked = preparing.found
        made = Plan(asked.point, (arms.Arm(),), asked.length, step_seconds(asked.point))
        folder = race.made_folder(made, f"without-{asked.mark.step}")
        self._conductor = Conductor(made, folder, self._place, turns=asked.turns)
        yield self._conductor.begun(stands=False, mark=f"{asked.mark.words} at step {asked.mark.step:,}")
        self._conductor.start()

    def _over(self, conductor: Conductor, event: e.RaceEnded) -> Iterator[e.Event]:
        """What follows the end of a race: a judgement, and training again."""
        judged, self._judged = self._judged, None
        if judged is not None:
            command = self._command
            assert isinstance(command, c.JudgeIntervention)
            try:
                if event.reason == CANCELLED:
                    raise Refused("the control was cancelled")
                found = helping.answer(*judged, conductor.runners[0].reading)
                yield helping.answered(found, command.id, command.by)
                race.clear(conductor.folder)
            except (TuitrainError, ArithmeticError, ValueError) as error:
                yield e.CommandRefused(id=command.id, by=command.by, reason=str(error)[:500])
        self._command, self._cuts = None, {}
        stood, self._stood = self._stood, False
        if stood and self._trainer.orders.paused:
            yield from self._trainer.orders.go_on(self._answer())

    def _answer(self) -> dict[str, Any]:
        progress = self._trainer.machine.progress
        return {"branch": progress.branch, "step": progress.step, "id": "", "by": askers.RACE}


class Verify:
    """Says when the guard's rollback may be judged: there are steps to compare with, and cores that nobody uses."""

    def __init__(self, trainer: Trainer, load: Callable[[], float] = lambda: os.getloadavg()[0],
                 cores: int = os.cpu_count() or 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._load, self._cores, self._clock = trainer.machine, load, cores, clock
        self._branch, self._from = trainer.machine.progress.branch, math.inf
        self._next = 0.0

    def due(self) -> int | None:
        """The branch whose beginning may be judged now, once; None if there is none."""
        progress = self._machine.progress
        if progress.branch != self._branch:
            self._branch, self._from = progress.branch, progress.step + helping.STEPS
        if progress.step < self._from or self._clock() < self._next:
            return None
        self._next = self._clock() + LOOKS
        if self._cores - self._load() < torch.get_num_threads():
            return None
        self._from = math.inf
        return self._branch


class Preparing:
    """Finds something out in a thread: reading a long journal takes seconds that training need not wait."""

    def __init__(self, work: Callable[[], tuple[helping.History, helping.Question]]) -> None:
        self._work = work
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="preparing", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it is found, or failed."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.found = self._work()
        except (TuitrainError, OSError, ValueError, KeyError) as error:
            self.failed = error
