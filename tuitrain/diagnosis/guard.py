"""The automatic pilot: reads events, sends commands, nothing else - it presses the keys a person would press.

It acts on one fact so far: training that yields no finite step any more. A single skipped step is none of its
business; the engine has already kept it from the weights.
"""

from collections.abc import Iterator
from itertools import count

from tuitrain.errors import DIVERGED
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import Event, GuardModeChanged, RolledBack, RunEnded, StepsDone, StepSkipped

STREAK = 20
"""Steps in a row without a finite number after which training counts as broken."""
LR_FACTOR = 0.25
MAX_ROLLBACKS = 3
GRACE = 2000
"""Steps without trouble after which rollbacks are counted anew."""


class Guard:
    """`react` turns an event into the commands it calls for; `mode` is warn, pause, rollback or stop."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._ids = count(1)
        self._rollbacks = 0
        self._healthy = 0
        self._acted = False

    def react(self, event: Event) -> Iterator[c.Command]:
        """The commands that an event calls for, often none."""
        match event:
            case GuardModeChanged():
                self.mode = event.new
            case RolledBack() | RunEnded():
                self._acted = False
            case StepsDone():
                self._healthy += len(event.loss)
                if self._healthy >= GRACE:
                    self._rollbacks = 0
            case StepSkipped(streak=streak):
                self._healthy = 0
                if streak < STREAK:
                    self._acted = False
                elif not self._acted:
                    self._acted = True
                    yield from self._act()

    def _act(self) -> Iterator[c.Command]:
        id, by = f"guard-{next(self._ids)}", "guard"
        if self.mode == "pause":
            yield c.Pause(id=id, by=by)
        elif self.mode == "rollback" and self._rollbacks < MAX_ROLLBACKS:
            self._rollbacks += 1
            yield c.Rollback(lr_factor=LR_FACTOR, id=id, by=by)
        elif self.mode in ("rollback", "stop"):
            yield c.Stop(reason="diverged", exit_code=DIVERGED, id=id, by=by)
