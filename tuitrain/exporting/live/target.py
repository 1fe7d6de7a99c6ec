"""What a library has to be able to do, and what it is told of a run. Knows no library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class About:
    """A run as a library is told of it. `id` is the same after each resume."""

    folder: Path
    id: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.resolve().name


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of the steps since the row before, up to `step` of a branch; `time` in Unix seconds."""

    branch: int
    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """A text that the weights of a step wrote."""

    branch: int
    step: int
    time: float
    text: str


class Target(Protocol):
    """An open log; every method may block or raise, and is called in one thread."""

    remark: str
    """What a person should know of it, empty if nothing."""

    def numbers(self, row: Row) -> None:
        """Write a row."""

    def sample(self, sample: Sample) -> None:
        """Write a sample."""

    def close(self) -> None:
        """Write what is left and close."""
