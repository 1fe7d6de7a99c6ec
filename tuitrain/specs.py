"""What is declared once for all rooms: each optimizer and each mode of the guard, with all that others need to know.

A name that is built somewhere and not declared here, or the other way round, fails when the program starts.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Betas = tuple[float, float]


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """What diagnosis and presets need to know of an optimizer."""

    divides: bool
    """Whether it divides a gradient by a running mean of its square, so that an unusual one finds it unprepared."""
    longest: Callable[[Betas, float], float]
    """(betas, alpha) -> how many times as long as usual a single gradient, however large, can make a step; inf if any
    length."""
    lr: float | None = None
    """Its usual peak rate; None: by the size of the model."""

    @property
    def bounded(self) -> bool:
        """Whether there is a longest step at all: a plain gradient step is as long as its gradient."""
        return self.longest((0.9, 0.999), 0.99) < math.inf


def _adam(betas: Betas, alpha: float) -> float:
    # The usual step under gradients of random sign is sqrt((1 - b1) / (1 + b1)) of the rate; half of it for safety.
    b1, b2 = betas
    return 1.5 * (1 - b1) / math.sqrt(1 - b2) / math.sqrt((1 - b1) / (1 + b1)) if b2 < 1 else math.inf


OPTIMIZERS: Final = {
    "adam": OptimizerSpec(divides=True, longest=_adam),
    "adamw": OptimizerSpec(divides=True, longest=_adam),
    "rmsprop": OptimizerSpec(divides=True, longest=lambda betas, alpha: 1.5 / math.sqrt(1 - alpha), lr=2e-3),
    "sgd": OptimizerSpec(divides=False, longest=lambda betas, alpha: math.inf, lr=1.0),
    "muon": OptimizerSpec(divides=False, longest=lambda betas, alpha: 1.5),
}
UNKNOWN: Final = OptimizerSpec(divides=False, longest=lambda betas, alpha: math.inf)
"""An optimizer of somebody else: nothing is taken for granted."""


def optimizer(name: str) -> OptimizerSpec:
    """The declaration of an optimizer, or one that promises nothing."""
    return OPTIMIZERS.get(name, UNKNOWN)


@dataclass(frozen=True, slots=True)
class CellSpec:
    """What screens and diagnosis need to know of a recurrent cell."""

    title: str
    gates: Mapping[str, str]
    """Letter -> name, in torch's order of the stacked blocks."""
    writes: str
    """Letters of the gates that bring something new into the state; the first is the candidate, the only tanh."""

    @property
    def candidate(self) -> str:
        """The letter of the gate that proposes the new state."""
        return self.writes[:1]


CELLS: Final = {
    "lstm": CellSpec("LSTM", {"i": "input", "f": "forget", "g": "candidate", "o": "output"}, writes="gi"),
    "gru": CellSpec("GRU", {"r": "reset", "z": "update", "n": "candidate"}, writes="nz"),
}


def cell(config: Mapping[str, Any]) -> CellSpec:
    """The cell of a run, from its configuration: an LSTM where none is named; nothing but a name if it is unknown."""
    name = str(config.get("cell", "lstm"))
    return CELLS.get(name) or CellSpec(name, {}, writes="")


GUARD_MODES: Final = {
    "warn": "say so",
    "pause": "wait for me",
    "rollback": "to the last good point",
    "stop": "save and end",
}
"""What the guard does when training breaks, mildest first, in a person's words."""


def check_declared(kind: str, declared: Iterable[str], built: Iterable[str]) -> None:
    """Raise RuntimeError where what is declared and what is built differ: a mistake of ours, found at start."""
    differ = set(declared) ^ set(built)
    if differ:
        raise RuntimeError(f"{kind}: declared and built are not the same: {', '.join(sorted(differ))}")


@dataclass(frozen=True, slots=True)
class LogSpec:
    """A library that a run can be written into while it trains."""

    module: str
    extra: str
    """The extra of this package that installs it."""


OFF: Final = "off"
LOGS: Final = {
    "tensorboard": LogSpec("tensorboard", "export"),
    "wandb": LogSpec("wandb", "wandb"),
    "trackio": LogSpec("trackio", "trackio"),
    "mlflow": LogSpec("mlflow", "mlflow"),
}
