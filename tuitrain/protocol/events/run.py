"""The life of a run: its beginning, its end, the machine it uses, who watches it."""

from dataclasses import dataclass

from tuitrain.protocol.events.base import Event, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A new run started; `config` is the sealed configuration, `facts` what is known of corpus and model."""

    config: Json
    vocabulary: str
    versions: Json
    device: str
    threads: int
    precision: str
    facts: Json
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A run was resumed from `checkpoint`; `exact` says whether bit for bit, `why_not` why not."""

    branch: int
    step: int
    checkpoint: str
    exact: bool
    why_not: str
    config: Json
    vocabulary: str
    versions: Json
    device: str
    threads: int
    precision: str
    facts: Json
    parent: int | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The last event of a run: finished, stopped, interrupted, terminated, diverged or crashed."""

    reason: str
    exit_code: int
    branch: int
    step: int
    message: str = ""
    traceback: str = ""
    id: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsAdded(Event):
    """Facts learned after the start of the run; they replace those of the same names."""

    facts: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsed(Event):
    """Resources in use by the training process: bytes, GPU load in percent, degrees Celsius; None where unknown."""

    memory: int
    memory_total: int
    gpu_load: float | None
    gpu_temperature: float | None
    gpu_memory: int | None
    gpu_memory_total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientJoined(Event):
    """Another terminal or script was attached."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeft(Event):
    """A terminal or script was detached."""

    by: str
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSaid(Event):
    """A message for a person; `level` is info or warning. With an id it answers a command that had nothing to do."""

    text: str
    level: str = "info"
    id: str = ""
    by: str = ""
