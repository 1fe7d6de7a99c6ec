"""Runs the arms of a race one after the other in this process, and tells how far they are. Knows no screen."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tuitrain.diagnosis.arms import Arm
from tuitrain.errors import UsageError
from tuitrain.futures.points import Point
from tuitrain.futures.reading import Reading
from tuitrain.futures.training import RESULT, Training, Turns
from tuitrain.protocol.events import StepsDone
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory, new_run, write_atomically
from tuitrain.run.folder import make_private

FOLDER = "futures"
"""The folder of a run that holds its races, a folder each."""
PLAN = "race.json"
"""The file of a race's folder that says what it does."""
JOBS = "jobs.json"
"""The file of a race's folder with its jobs, if a scheduler has them."""
STEPS = 600
STEP_BYTES = 700
"""Bytes that an arm writes for each of its steps: journal and reading; 640 to 700 were measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a race would do."""

    point: Point
    arms: tuple[Arm, ...]
    steps: int
    """Of each arm."""
    step_seconds: float
    """As the run's own steps took; 0 if unknown."""

    @property
    def seconds(self) -> float:
        """About what it takes, validation included; 0 if unknown."""
        return 1.15 * len(self.arms) * self.steps * self.step_seconds

    @property
    def bytes(self) -> int:
        """About what it writes to disk: the journals, and a checkpoint of each arm's end."""
        return len(self.arms) * self.point.bytes + self.kept_bytes

    @property
    def kept_bytes(self) -> int:
        """What of that stays when the weights that its arms ended with are deleted."""
        return len(self.arms) * self.steps * STEP_BYTES


def plan(point: Point, arms: Sequence[Arm], steps: int = STEPS) -> Plan:
    """A race from a point, as far as the run goes. Raises UsageError if the run ends there."""
    last = point.knobs.steps
    if last and last <= point.step:
        raise UsageError(f"step {point.step:,} is the last of the run: name an earlier one with --from, "
                         "such as half of it")
    return Plan(point, tuple(arms), min(steps, last - point.step) if last else steps, step_seconds(point))


def step_seconds(point: Point) -> float:
    """The seconds that the run's newest steps took each; 0 if unknown."""
    path = RunDirectory(point.run).journal
    done = [event for event, _ in journal.tail(path) if isinstance(event, StepsDone)] if path.exists() else []
    steps = sum(len(event.loss) for event in done)
    return sum(event.seconds for event in done) / steps if steps else 0.0


class Race:
    """`run` trains the arms in their order; `cut` and `cancel` may be called from any thread or signal handler."""

    def __init__(self, made: Plan, corpus: str | None = None, *, name: str = "",
                 turns: Turns = MappingProxyType({})) -> None:
        """Create the folder of the race, which begins with `name`; every arm makes the `turns`. Raises RunError."""
        self.plan, self._corpus, self._turns = made, corpus, turns
        self.folder = made_folder(made, name)
        self.readings: list[Reading] = []
        """Of the arms that have ended."""
        self._running: Training | None = None
        self._cancelled = False

    def run(self, told: Callable[[int, Reading], None] = lambda number, reading: None) -> list[Reading]:
        """Train every arm; `told` hears the number of the arm, from 1, and its reading so far. Raises TuitrainError."""
        for number, arm in enumerate(self.plan.arms, 1):
            if self._cancelled:
                break
            folder = self.folder / folder_name(number, arm)
            training = Training(self.plan.point, arm, self.plan.steps, folder, self._corpus, self._turns)
            self._running = training
            if self._cancelled:  # a signal came while it was prepared
                training.cut()

            def so_far(reading: Reading, number: int = number) -> None:
                told(number, reading)

            self.readings.append(training.run(so_far))
            self._running = None
        return self.readings

    @property
    def cancelled(self) -> bool:
        """Whether somebody ended it before its last arm."""
        return self._cancelled

    def cut(self) -> None:
        """End the arm that trains now; the next begins."""
        if self._running is not None:
            self._running.cut()

    def cancel(self) -> None:
        """End the arm that trains now, and the race. The run is as it was: an arm trains in a folder of its own."""
        self._cancelled = True
        self.cut()


def clear(race: Path) -> None:
    """Delete the weights that the arms of a race ended with: each is as large as a checkpoint of the run.

    What they did stays. A race that goes on elsewhere is left alone. Raises RunError.
    """
    arms = [path.parent for path in race.glob("*/config.json")]
    if (race / JOBS).exists() and not all((arm / RESULT).exists() for arm in arms):
        return
    for arm in arms:
        place = RunDirectory(arm).checkpoints
        marks = checkpoints.list_all(place)
        for mark in marks:
            if mark.step > marks[0].step:
                checkpoints.delete(place, mark)


def made_folder(made: Plan, name: str = "") -> Path:
    """Create the folder of a race and write down what it does; return it.

    The weights of older races are deleted, unless this one is a control with a `name`. Raises RunError.
    """
    parent = made.point.run / FOLDER
    make_private(parent)
    if not name:
        for older in parent.iterdir():
            clear(older)
    folder = new_run(parent, name or f"from-{made.point.step}").path
    body = {"point": made.point.name, "branch": made.point.branch, "step": made.point.step, "steps": made.steps,
            "arms": [[arm.lr, arm.clip] for arm in made.arms]}
    write_atomically(folder / PLAN, json.dumps(body).encode())
    return folder


def folder_name(number: int, arm: Arm) -> str:
    """The name of the folder of an arm, counted from 1."""
    return f"{number}-" + re.sub(r"[^\w.-]+", "-", arm.stem)
