"""The table of panes: the class and place of each. Descriptions are in telemetry/glossary.py."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuitrain.specs import check_declared
from tuitrain.telemetry import glossary
from tuitrain.ui.panes.gradients import GradientsPane
from tuitrain.ui.panes.groups import GroupsPane
from tuitrain.ui.panes.inside import InsidePane
from tuitrain.ui.panes.knobs import KnobsPane
from tuitrain.ui.panes.log import LogPane
from tuitrain.ui.panes.loss import LossPane
from tuitrain.ui.panes.machine import MachinePane
from tuitrain.ui.panes.sample import SamplePane
from tuitrain.ui.panes.timeline import TimelinePane
from tuitrain.ui.picture import Picture


@dataclass(frozen=True, slots=True)
class PaneSpec:
    """A pane; `place` is its box in the cockpit, filled from top to bottom or from left to right."""

    name: str
    make: Callable[[str], Picture | LogPane]
    place: str


PANES = (
    PaneSpec("loss", LossPane, "left"),
    PaneSpec("gradients", GradientsPane, "left"),
    PaneSpec("sample", SamplePane, "right"),
    PaneSpec("groups", GroupsPane, "right"),
    PaneSpec("inside", InsidePane, "third"),
    PaneSpec("machine", MachinePane, "third"),
    PaneSpec("knobs", KnobsPane, "bottom"),
    PaneSpec("timeline", TimelinePane, "bottom"),
    PaneSpec("log", LogPane, "below"),
)
check_declared("panes", glossary.PANES, (spec.name for spec in PANES))


def panes_of(place: str) -> Iterator[Picture | LogPane]:
    """Yield new panes of a place, in order."""
    for spec in PANES:
        if spec.place == place:
            yield spec.make(spec.name)
