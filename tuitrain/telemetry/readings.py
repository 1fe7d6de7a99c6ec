"""What findings hold as JSON objects, read once: a probe of each layer, the text around an onset.

Reading raises KeyError, TypeError or ValueError where something is missing or of another kind, which the fold counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tuitrain.protocol import findings as f
from tuitrain.telemetry import wire


@dataclass(frozen=True, slots=True)
class Layer:
    """What a probe saw in a layer: shares from 0 to 1, gradient norms over that of the last step of a window."""

    saturation: Mapping[str, float]
    """Share of each gate at its ends."""
    radius: float
    """Spectral radius of the recurrent block of the candidate."""
    dead: float
    """Share of units that never move."""
    worst: float
    """Highest gradient norm of any example and step."""
    first: float = field(default=math.nan, metadata=wire.OPTIONAL)
    """Gradient norm of the first step."""
    flow: tuple[float, ...] = field(default=(), metadata=wire.OPTIONAL)
    """Mean gradient norm by step, as a power of ten."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A look inside; `layers` from the bottom up, loss and entropy in nats per character."""

    branch: int
    step: int
    loss: float
    entropy: float
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, event: f.Probed) -> "Probe":
        """Read an event."""
        if not event.layers:
            raise ValueError("a probe of no layer")
        return cls(event.branch, event.step, event.loss, event.entropy,
                   tuple(wire.record_from_wire(Layer, dict(layer)) for layer in event.layers))

    @property
    def radius(self) -> float:
        """The largest of any layer."""
        return max(layer.radius for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of text with the loss of its characters, nats; `offset` counts characters of the training text."""

    text: str
    offset: int
    loss: float


@dataclass(frozen=True, slots=True)
class BlackBox:
    """What was read around an onset, the stretch with the highest loss first."""

    branch: int
    step: int
    onset: int
    path: str
    streams: tuple[Stretch, ...]

    @classmethod
    def of(cls, event: f.BlackBoxKept) -> "BlackBox":
        """Read an event."""
        return cls(event.branch, event.step, event.onset, event.path,
                   tuple(wire.record_from_wire(Stretch, dict(stream)) for stream in event.streams))


@dataclass(frozen=True, slots=True)
class Updates:
    """Update ratio of each parameter group at a step."""

    branch: int
    step: int
    ratios: Mapping[str, float]
