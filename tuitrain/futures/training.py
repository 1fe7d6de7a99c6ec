"""Trains one arm: from a restore point some steps with other knobs, in a run folder of its own.

`train` is all that a scheduler needs to call: it reads files, writes files, and its result is plain numbers. There is
no loop here: an arm is a resumed run, with its journal, analyst, evaluations and checkpoints.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tuitrain.charlstm import prepare, runtime
from tuitrain.charlstm.asides.evaluations import Evaluations
from tuitrain.charlstm.asides.probes import Probes
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model.moments import moment_scale, scale_moments
from tuitrain.diagnosis.arms import Arm
from tuitrain.engine.steering import Steering
from tuitrain.engine.worker import Worker
from tuitrain.errors import NoRoom
from tuitrain.futures.points import Point
from tuitrain.futures.reading import Reading
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import EpochEnded, Event
from tuitrain.run.directory import RunDirectory, write_atomically

LOOKS = 8
"""Looks inside over the length of an arm, beside one at its begin."""
Turns = Mapping[int, Mapping[str, Any]]
"""After which steps which knobs are set to what; `land` begins a landing over so many steps."""
RESULT = "reading.json"
"""The file of an arm's folder that holds its reading."""
CUT = "cut"
"""The file of an arm's folder by which whoever follows it ends it."""
ASKED_EVERY = 0.5
"""Seconds between two looks for that file."""


class SimpleAside:
    """An aside that takes no command and leaves nothing unfinished."""

    answers: tuple[type[c.Command], ...] = ()
    busy = False

    def while_paused(self) -> Iterator[Event]:
        return iter(())

    closing_seconds = 0.0

    def finish(self, everything: bool, until: float = math.inf) -> Iterator[Event]:
        return iter(())

    def answer(self, command: c.Command, steering: Steering) -> Iterator[Event]:
        return iter(())


class Looks(SimpleAside):
    """Looks inside at the end of an arm and evenly between; one at its begin is asked for."""

    def __init__(self, machine: Machine, probes: Probes, begin: int, steps: int) -> None:
        self._machine, self._probes = machine, probes
        self._due = {begin + round(steps * i / LOOKS) for i in range(1, LOOKS + 1)}

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Look inside where it is due and the run's own interval does not do it."""
        step = self._machine.progress.step
        if step in self._due and step % self._probes.every:
            yield self._probes.look("interval")


class Repeats(SimpleAside):
    """Turns the knobs after the steps after which the run's were turned, and begins its landings."""

    def __init__(self, machine: Machine, turns: Turns) -> None:
        self._machine, self._turns = machine, turns
        self._turn()

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Turn what is due."""
        self._turn()
        return iter(())

    def _turn(self) -> None:
        values = dict(self._turns.get(self._machine.progress.step, {}))
        if landing := values.pop("land", None):
            self._machine.schedule.land(self._machine.progress.step, int(landing))
        if values:
            self._machine.knobs = replace(self._machine.knobs, **values)


class Training:
    """An arm that trains in a thread of this process; `cut` ends it early, from any thread."""

    def __init__(self, point: Point, arm: Arm, steps: int, folder: Path, corpus: str | None = None,
                 turns: Turns = MappingProxyType({})) -> None:
        """Prepare it; `corpus` is where the text is if the run has no copy of it. Raises TuitrainError."""
        self.folder = RunDirectory(folder)
        if not self.folder.config.exists():  # whoever races from a snapshot has put it there
            point.put(self.folder)
        self.reading = Reading(arm, point.step, steps)
        self._turns = turns
        self._worker = runtime.aside(lambda: self._prepared(point, arm, steps, corpus))

    def _prepared(self, point: Point, arm: Arm, steps: int, corpus: str | None) -> Worker:
        now = point.knobs
        worker = prepare.resume(self.folder, steps=None, knobs=arm.values(now), corpus_path=corpus,
                                checkpoint=point.step)
        trainer, machine = worker.trainer, worker.trainer.machine
        assert isinstance(machine, Machine)
        evaluations, probes = trainer.asides[:2]
        assert isinstance(evaluations, Evaluations) and isinstance(probes, Probes)
        if machine.config.clip_kind == "norm":
            factor = moment_scale(machine.norms.astype(float), now.clip, machine.knobs.clip)
            scale_moments(machine.optimizer.tensors(), factor)
            trainer.introduce(moments=factor)
        self._evaluations = evaluations
        trainer.asides = (*trainer.asides, Looks(machine, probes, point.step, steps), Repeats(machine, self._turns))
        trainer.until = point.step + steps
        worker.remember(point.past())
        worker.send(c.SetGuardMode(id="", by=askers.RACE, mode="warn"))
        worker.send(c.LookInside(id="", by=askers.RACE))
        return worker

    def run(self, told: Callable[[Reading], None] = lambda reading: None) -> Reading:
        """Train to the end; `told` hears of each report. Raises NoRoom if the arm's numbers cannot be written."""
        feed = self._worker.feed()
        self._worker.start()
        asked = time.monotonic()
        while not self.reading.state:
            if time.monotonic() - asked >= ASKED_EVERY:
                asked = time.monotonic()
                if (self.folder.path / CUT).exists():
                    self.cut()
                    asked = math.inf
            for event, _ in feed.drain_timed(0.2):
                self.reading.take(event)
            told(self.reading)
        self._worker.join()
        newest = self._evaluations.newest
        if newest is not None and newest[1] == self.reading.begin + self.reading.done:
            self.reading.stretches = self._evaluations.stretches().tolist()
        body = json.dumps(plain(self.reading.to_json())).encode()
        try:
            write_atomically(self.folder.path / RESULT, body)
        except OSError as error:
            raise NoRoom(f"{self.folder.path / RESULT}: {error.strerror or error}") from None
        return self.reading

    def cut(self) -> None:
        """End it at the next step, with its validation loss."""
        self._worker.send(c.Evaluate(id="", by=askers.RACE))
        self._worker.send(c.Stop(id="", by=askers.RACE, reason="cut"))


def train(point: Point, arm: Arm, steps: int, folder: Path, corpus: str | None = None,
          turns: Turns = MappingProxyType({})) -> Reading:
    """Train an arm `steps` steps on from a point, in the run folder `folder`, new or made by `point.put`.

    Returns what it did. The same weights, moments, random numbers and batches as the run; without other knobs the same
    numbers, bit for bit. Raises TuitrainError.
    """
    return Training(point, arm, steps, folder, corpus, turns).run()


def read_result(folder: Path) -> Reading:
    """The reading that an arm left in its folder. Raises OSError, or ValueError and the like for another file."""
    return Reading.of_json(json.loads((folder / RESULT).read_bytes()))
