"""The newest race of a run, folded from its events; a bounded curve for each arm. Knows no front end."""

from dataclasses import dataclass, field
from dataclasses import replace as replaced

import numpy as np

from tuitrain.protocol import events as e
from tuitrain.telemetry.series import History

CAPACITY = 128
"""Places of an arm's curve."""
ENDED_WITH_THE_RUN = "it ended with the process of the run"


def _curve() -> History:
    return History(CAPACITY)


@dataclass(slots=True)
class Runner:
    """An arm: its losses by step, and its newest numbers, None before the first."""

    name: str
    curve: History = field(default_factory=_curve)
    newest: e.ArmAdvanced | None = None

    @property
    def done(self) -> int:
        """Steps so far."""
        return len(self.curve)

    @property
    def state(self) -> str:
        """How it ended; empty while it trains or waits."""
        return self.newest.state if self.newest is not None else ""


@dataclass(slots=True)
class Contest:
    """A race; `ended` is why it ended, empty while it goes on."""

    began: e.RaceStarted
    runners: list[Runner] = field(default_factory=list)
    ended: str = ""
    recommended: int = 0
    runner_up: int = 0
    sentences: tuple[str, ...] = ()
    chosen: str = ""
    """The folder of the arm that was chosen."""

    @classmethod
    def of(cls, event: e.RaceStarted) -> "Contest":
        """A race that begins."""
        contest = cls(event)
        for name in event.arms:
            runner = Runner(name)
            runner.curve.skip(event.step)
            contest.runners.append(runner)
        return contest

    def fold(self, event: e.Event) -> None:
        """Update it with an event of the run."""
        match event:
            case e.ArmAdvanced() if event.race == self.began.race:
                runner = self.runners[event.arm - 1]
                known = runner.curve.last_step - event.first_step + 1  # one who follows again tells them again
                runner.curve.extend(np.array(event.loss[max(0, known):]))
                runner.newest = replaced(event, loss=())
            case e.RaceEnded() if event.race == self.began.race:
                self.ended, self.sentences = event.reason, event.sentences
                self.recommended, self.runner_up = event.recommended, event.runner_up
            case e.RolledBack() if event.arm.startswith(f"{self.began.race}/"):
                self.chosen = event.arm
            case e.RunEnded() | e.RunResumed() if not self.ended and not self.began.lasts:
                self.ended = ENDED_WITH_THE_RUN

    @property
    def share(self) -> float:
        """The share of all its steps that is done."""
        return sum(runner.done for runner in self.runners) / max(1, len(self.runners) * self.began.steps)
