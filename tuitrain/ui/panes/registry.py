"""The one table of panes: what draws each, and where it stands. Its words are in telemetry/glossary.py."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuitrain.specs import check_declared
from tuitrain.telemetry import glossary
from tuitrain.ui.panes.gradients import Gradients
from tuitrain.ui.panes.groups import Groups
from tuitrain.ui.panes.inside import Inside
from tuitrain.ui.panes.knobs import Knobs
from tuitrain.ui.panes.log import Log
from tuitrain.ui.panes.loss import Loss
from tuitrain.ui.panes.machine import Machine
from tuitrain.ui.panes.sample import Sample
from tuitrain.ui.panes.timeline import Timeline
from tuitrain.ui.picture import Picture


@dataclass(frozen=True, slots=True)
class PaneSpec:
    """A pane by name; `place` is the box of the cockpit it stands in, from top to bottom or from left to right."""

    name: str
    make: Callable[[str], Picture | Log]
    place: str


PANES = (
    PaneSpec("loss", Loss, "left"),
    PaneSpec("gradients", Gradients, "left"),
    PaneSpec("sample", Sample, "right"),
    PaneSpec("groups", Groups, "right"),
    PaneSpec("inside", Inside, "third"),
    PaneSpec("machine", Machine, "third"),
    PaneSpec("knobs", Knobs, "bottom"),
    PaneSpec("timeline", Timeline, "bottom"),
    PaneSpec("log", Log, "below"),
)
check_declared("panes", glossary.PANES, (spec.name for spec in PANES))


def panes_of(place: str) -> Iterator[Picture | Log]:
    """New panes of a place, in order."""
    for spec in PANES:
        if spec.place == place:
            yield spec.make(spec.name)
