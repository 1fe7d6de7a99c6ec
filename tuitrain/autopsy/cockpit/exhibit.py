"""What the screen shows of an autopsy: the checkpoints so far, the cursor, in the end what was found. No Textual."""

from dataclasses import dataclass, field

from tuitrain.autopsy.examination import Examined
from tuitrain.autopsy.inquest import Autopsy
from tuitrain.protocol import events as e
from tuitrain.protocol.findings import Probed
from tuitrain.telemetry.run_state import RunState


@dataclass(slots=True)
class Exhibit:
    """The checkpoints in order; `at` is the one under the cursor, which follows the newest until it is moved."""

    folder: str
    checkpoints: list[Examined] = field(default_factory=list)
    found: Autopsy | None = None
    at: int = 0
    moved: bool = False
    of: int = 0
    """How many checkpoints there will be."""
    name: str = ""
    """The one that is being examined."""

    @property
    def here(self) -> Examined | None:
        """The checkpoint under the cursor."""
        return self.checkpoints[self.at] if self.checkpoints else None

    @property
    def beside(self) -> Examined | None:
        """The one it is compared with: the last healthy one, or before that is known the best."""
        if self.found is not None and self.found.last_healthy is not None:
            return self.found.last_healthy
        known = [each for each in self.checkpoints if each.loss is not None]
        return min(known, key=lambda each: each.loss or 0.0, default=None)

    def add(self, each: Examined) -> None:
        """Take the next checkpoint."""
        self.checkpoints.append(each)
        if not self.moved:
            self.at = len(self.checkpoints) - 1

    def conclude(self, found: Autopsy) -> None:
        """Take the result; a cursor that nobody has moved goes to where training broke."""
        self.found, self.checkpoints = found, list(found.checkpoints)
        if not self.moved:
            broken, healthy = found.line.first_broken, found.line.last_healthy
            self.at = broken if broken is not None else healthy if healthy is not None else len(self.checkpoints) - 1

    def move(self, by: int) -> None:
        """Move the cursor by so many checkpoints, as far as there are any."""
        self.go(self.at + by)

    def go(self, to: int) -> None:
        """Move the cursor to a position."""
        self.moved = True
        self.at = min(len(self.checkpoints) - 1, max(0, to)) if self.checkpoints else 0


def state_of(each: Examined | None) -> RunState:
    """Return the state of a run of which nothing but this checkpoint is known, for the panes of a run."""
    state = RunState()
    if each is None:
        return state
    state.step = each.step
    if each.layers and each.loss is not None and each.entropy is not None:
        state.fold(Probed(branch=0, step=each.step, loss=each.loss, entropy=each.entropy,
                          layers=tuple(dict(layer) for layer in each.layers), reason="autopsy", seconds=each.seconds))
    if each.sample:
        state.fold(e.SampleDrawn(branch=0, step=each.step, temperature=1.0, prompt="", text=each.sample,
                                 health=dict(each.health)))
    return state
