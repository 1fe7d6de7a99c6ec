"""Conducts a race whose arms are trained by others: hands out the tasks, follows their journals, says how they do.

Knows neither the screen nor the run that trains beside it; cutting, cancelling and reading the news is safe from any
thread.
"""

import contextlib
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import TuitrainError
from tuitrain.futures import comparing, reading
from tuitrain.futures.comparing import NONE, Outcome, compare
from tuitrain.futures.jobs import Job, Place, Task
from tuitrain.futures.points import Point
from tuitrain.futures.race import JOBS, PLAN, Plan, folder_name
from tuitrain.futures.reading import BROKEN, Reading
from tuitrain.futures.training import CUT, RESULT, read_result
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, write_atomically
from tuitrain.run.journal import Trouble

LOOKS = 0.2
"""Seconds between two looks at the arms."""
TOLD_EVERY = 1.0
"""Seconds between two reports of an arm."""
FINISHED, CANCELLED = "finished", "cancelled"


@dataclass(slots=True)
class Runner:
    """An arm while it is followed from its journal."""

    folder: Path
    reading: Reading
    job: Job | None = None
    told: int = 0
    """Steps whose losses have been reported."""
    told_at: float = -math.inf
    over: bool = False
    offset: int = 0

    def look(self) -> None:
        """Read what its journal has new; from its result, if there is one."""
        ended = self.job is None or self.job.ended  # read first: what is then on disk is all there will be
        result = (self.folder / RESULT).exists()
        trouble = Trouble()
        for event, _ in journal.read(RunDirectory(self.folder).journal, trouble, start=self.offset):
            self.reading.take(event)
        self.offset = max(self.offset, trouble.offset)
        if result:
            self.reading, self.over = read_result(self.folder), True
        elif ended:
            self.reading.state, self.over = BROKEN, True
            self.reading.message = self.reading.message or "its process ended before it did"


@dataclass(slots=True)
class Conductor:
    """A race; `start` begins it in a thread of its own."""

    made: Plan
    folder: Path
    place: Place
    corpus: str | None = None
    turns: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    news: "queue.SimpleQueue[e.Event]" = field(default_factory=queue.SimpleQueue)
    """What it says, in its order; the last is RaceEnded."""
    runners: list[Runner] = field(default_factory=list)
    outcome: Outcome | None = None
    _cancelled: bool = False
    _left: bool = False
    _cut: set[int] = field(default_factory=set)
    _point: Point | None = None
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.runners = [Runner(self.folder / folder_name(i, arm), Reading(arm, self.made.point.step, self.made.steps))
                        for i, arm in enumerate(self.made.arms, 1)]

    def begun(self, *, stands: bool, mark: str = "", id: str = "", by: str = "") -> e.RaceStarted:
        """The event of its begin."""
        point = self.made.point
        return e.RaceStarted(race=self.folder.name, branch=point.branch, step=point.step, point=point.name,
                             arms=tuple(arm.name for arm in self.made.arms), steps=self.made.steps,
                             where=self.place.words, stands=stands, lasts=self.place.lasts, mark=mark, id=id, by=by)

    def start(self) -> None:
        """Begin it."""
        self._thread = threading.Thread(target=self._work, name="race", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end; whether it has come."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def cut(self, number: int) -> bool:
        """End an arm, counted from 1; False if there is none that has not ended."""
        if not 1 <= number <= len(self.runners) or self.runners[number - 1].over:
            return False
        self._cut.add(number - 1)
        self._wake.set()
        return True

    def cancel(self) -> None:
        """End the race and all its arms; the run is as it was."""
        self._cancelled = True
        self._wake.set()

    def leave(self) -> None:
        """Follow it no longer; its arms go on where they are."""
        self._left = True
        self._wake.set()

    def _work(self) -> None:
        reason = FINISHED
        try:
            self._point = self.made.point.put_all([RunDirectory(runner.folder) for runner in self.runners
                                                   if not (runner.folder / "config.json").exists()])
            while not (self._cancelled or self._left) and not all(runner.over for runner in self.runners):
                self._hand_out()
                for i, runner in enumerate(self.runners):
                    if not runner.over and runner.job is not None:
                        runner.look()
                        self._tell(i, runner)
                self._wake.wait(LOOKS)
                self._wake.clear()
            reason = CANCELLED if self._cancelled else FINISHED
        except (TuitrainError, OSError, ValueError, KeyError) as error:
            reason = f"it failed: {error}"
        if not self._left:
            self._end(reason)

    def _hand_out(self) -> None:
        """Begin the next arms, as many as the place takes, and cut those that were cut."""
        assert self._point is not None
        begun = False
        for i, runner in enumerate(self.runners):
            if i in self._cut and not runner.over:
                self._cut.discard(i)
                if runner.job is None:
                    runner.reading.state, runner.over = reading.CUT, True
                    self._tell(i, runner)
                else:
                    (runner.folder / CUT).touch()
            busy = sum(other.job is not None and not other.over for other in self.runners)
            if runner.job is None and not runner.over and busy < self.place.at_once:
                task = Task(self._point, runner.reading.arm, self.made.steps, runner.folder, self.corpus,
                            dict(self.turns))
                runner.job, begun = self.place.submit(task), True
        if begun and self.place.lasts:
            keys = [runner.job.key if runner.job else "" for runner in self.runners]
            write_atomically(self.folder / JOBS, json.dumps({"on": self.place.name, "keys": keys}).encode())

    def _tell(self, i: int, runner: Runner) -> None:
        """Report an arm, if there is something new and the last report is a while ago."""
        so_far, now = runner.reading, time.monotonic()
        if not runner.over and (so_far.done == runner.told or now - runner.told_at < TOLD_EVERY):
            return
        base = self.runners[0].reading
        loss = validation = NONE
        if i and so_far.done and base.done:
            loss = comparing.of_steps(so_far.losses, base.losses)
            validation = comparing.of_stretches(so_far.stretches, base.stretches)
        self.news.put(e.ArmAdvanced(
            race=self.folder.name, arm=i + 1, folder=f"{self.folder.name}/{runner.folder.name}",
            first_step=so_far.begin + runner.told + 1, loss=tuple(so_far.losses[runner.told:]),
            state=so_far.state if runner.over else "", difference=loss.value, error=loss.error,
            validation=so_far.validation, validation_difference=validation.value, validation_error=validation.error,
            tail=so_far.tail, largest=so_far.largest, clipped=so_far.share_clipped, update=so_far.update,
            growth=so_far.growth, radius_before=so_far.radii[0][1] if so_far.radii else math.nan,
            radius=so_far.radius, signs=tuple(comparing.signs(so_far)), sample=so_far.sample))
        runner.told, runner.told_at = so_far.done, now

    def _end(self, reason: str) -> None:
        for runner in self.runners:
            if runner.job is not None:
                if not runner.over:
                    runner.job.kill()
                runner.job.close()
        with contextlib.suppress(OSError):
            (self.folder / JOBS).unlink(missing_ok=True)
        recommended = runner_up = 0
        sentences: Sequence[str] = ()
        advice = ""
        trained = [runner.reading for runner in self.runners if runner.reading.done]
        if reason != CANCELLED and trained:
            self.outcome = outcome = compare(trained)
            sentences, advice = outcome.sentences, outcome.advice
            recommended, runner_up = (0 if row is None else 1 + next(
                i for i, runner in enumerate(self.runners) if runner.reading is row.reading)
                for row in (outcome.taken, outcome.runner_up))
        point = self.made.point
        self.news.put(e.RaceEnded(race=self.folder.name, branch=point.branch, step=point.step, reason=reason,
                                  recommended=recommended, runner_up=runner_up, sentences=tuple(sentences),
                                  advice=advice))


def answered(event: e.RaceEnded | e.ArmAdvanced, command: c.Command) -> e.Event:
    """An event of a race as the answer to a command."""
    return replace(event, id=command.id, by=command.by)


def adopted(run: RunDirectory, folder: Path, place: Callable[[str], Place]) -> Conductor | None:
    """A race whose jobs another process has submitted and left, to be followed on; None if there is none in a folder.

    `place` makes the place of a name. Raises TuitrainError.
    """
    try:
        jobs, body = (json.loads((folder / name).read_bytes()) for name in (JOBS, PLAN))
        point = Point(run.path, str(body["point"]), int(body["branch"]), int(body["step"]), {})
        arms = tuple(Arm(str(lr), str(clip)) for lr, clip in body["arms"])
        conductor = Conductor(Plan(point, arms, int(body["steps"]), 0.0), folder, place(str(jobs["on"])))
        for runner, key in zip(conductor.runners, jobs["keys"], strict=True):
            runner.job = conductor.place.again(folder, str(key))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return conductor
