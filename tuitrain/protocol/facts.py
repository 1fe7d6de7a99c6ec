"""What is known of a run when it begins: the `facts` of RunStarted and RunResumed, read once and for all readers.

Any fact may be missing, and one of another type than expected counts as missing: a run is shown all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuitrain.protocol.capabilities import EVERYTHING, Capabilities

CAPTURED = "captured"
"""The `graph` of a run whose steps are a CUDA graph."""
BEFORE_CLIPPING, AFTER_CLIPPING = "before clipping", "after your own clipping"
"""The `norms` of a watched loop: where its gradient norms are taken."""
LETTERS = "letters alone"
"""The level of a model that only counts letters."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run; docs/journal.md says what each means."""

    told: Mapping[str, Any] = field(default_factory=dict)
    """As the journal has them, with those that this version has no name for."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    knobs_before: Mapping[str, Any] = field(default_factory=dict)
    """The knobs of the checkpoint that a resume goes on from; `knobs` where they are the same."""
    guard: str = ""
    corpus: str = ""
    train: int = 0
    validation: int = 0
    """Characters of the text to train on and to validate on."""
    parameters: int = 0
    steps_per_epoch: int = 0
    warmup: int = 0
    seconds: float = 0.0
    """From the start to the end, where minutes end the run: its last step is an estimate. 0 where they do not."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Bits per character, by the name of what reaches them."""
    remarks: tuple[str, ...] = ()
    timed: str = ""
    graph: str = ""
    norms: str = ""
    """Where the gradient norms of a watched loop are taken."""
    description: tuple[tuple[str, str], ...] = ()
    """Rows (name, words) about the model of a watched loop."""
    ranks: tuple[str, ...] = ()
    """Where each of several processes computes; empty if one trains alone."""
    drill: bool = False
    capabilities: Capabilities = EVERYTHING

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "RunFacts":
        """Read the facts of an event. Never fails."""
        knobs = _object(told, "knobs")
        return cls(
            told=dict(told), knobs=knobs, knobs_before=_object(told, "knobs_before") or knobs,
            guard=_text(told, "guard"), corpus=_text(told, "corpus"), train=_whole(told, "train"),
            validation=_whole(told, "validation"), parameters=_whole(told, "parameters"),
            steps_per_epoch=_whole(told, "steps_per_epoch"), warmup=_whole(told, "warmup"),
            seconds=_number(told, "seconds"),
            levels={str(name): float(bits) for name, bits in _object(told, "levels").items()
                    if isinstance(bits, int | float)},
            remarks=tuple(str(remark) for remark in _list(told, "remarks")),
            timed=_text(told, "timed"), graph=_text(told, "graph"), norms=_text(told, "norms"),
            description=tuple((str(row[0]), str(row[1])) for row in _list(told, "description")
                              if isinstance(row, list | tuple) and len(row) == 2),
            ranks=tuple(str(rank) for rank in _list(told, "ranks")),
            drill=bool(told.get("drill")), capabilities=Capabilities.of(told))

    def adding(self, more: Mapping[str, Any]) -> "RunFacts":
        """Return these facts with others in the place of those of the same names."""
        return RunFacts.of({**self.told, **more})

    def to_wire(self) -> dict[str, Any]:
        """As they were told."""
        return dict(self.told)

    @classmethod
    def from_wire(cls, told: Any) -> "RunFacts":
        """What `to_wire` told. Raises TypeError if it is no object."""
        if not isinstance(told, Mapping):
            raise TypeError("facts are an object")
        return cls.of(told)


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(told: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    found = told.get(name)
    return tuple(found) if isinstance(found, list | tuple) else ()


def _text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name)
    return found if isinstance(found, str) else ""


def _number(told: Mapping[str, Any], name: str) -> float:
    found = told.get(name)
    return float(found) if isinstance(found, int | float) and abs(found) < float("inf") else 0.0


def _whole(told: Mapping[str, Any], name: str) -> int:
    return int(_number(told, name))
