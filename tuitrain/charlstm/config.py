"""A run's sealed configuration: its fields, presets and validation. Knows nothing of torch or terminals.

The name of a field is that of the option. `auto` values and intervals in seconds are resolved once, before the run
starts (start/sealing.py); from then on the configuration is frozen and stored in the run folder.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args, get_origin, get_type_hints

from tuitrain.errors import UsageError
from tuitrain.intervals import Every, parse_every
from tuitrain.specs import CELLS, GUARD_MODES, LOGS, OFF, OPTIMIZERS, optimizer

ENDS: Final = ("steps", "epochs", "minutes")
"""Three ways to set the end of a run; one that is given overrides that of a preset."""
AUTO: Final = "auto"
"""Stands for a value that is decided when the run starts."""


def _option(default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None,
            high: float | None = None, metavar: str | None = None) -> Any:
    facts = {"help": help, "choices": choices, "low": low, "high": high, "metavar": metavar}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that defines a run. Units are in each field's help text."""

    corpus: str = _option("", "the text file")
    preset: str = _option("auto", "recipe", choices=("auto", "tflearn", "char-rnn"))

    cell: str = _option("lstm", "recurrent cell", choices=tuple(CELLS))
    layers: int = _option(2, "recurrent layers", low=1, high=32)
    hidden: int = _option(128, "units per layer", low=1, high=16384)
    embedding: int | str = _option("auto", "size of the character embedding, or onehot", metavar="N|onehot")
    dropout: float = _option(0.0, "dropout between layers and before the head", low=0.0, high=0.95)
    init: str = _option("orthogonal", "initial weights (both open the gate that keeps the state)",
                        choices=("orthogonal", "uniform"))
    batch_size: int = _option(16, "parallel streams or windows", low=1, high=65536)
    bptt: int = _option(64, "characters unrolled", low=1, high=65536)
    loss: str = _option("all", "characters that count: all of a stream, or the last of a window",
                        choices=("all", "last"))
    stride: int = _option(1, "distance between windows, with --loss last", low=1, high=1_000_000)

    optimizer: str = _option("adam", "optimizer", choices=tuple(OPTIMIZERS))
    lr: float = _option(0.0, "base learning rate (0: by preset and size)", low=0.0, high=10.0)
    lr_schedule: str = _option("auto", "shape of the learning rate over the run",
                               choices=("auto", "constant", "linear", "cosine", "plateau", "step"))
    lr_decay: float = _option(0.5, "factor of step and plateau", low=0.01, high=1.0)
    lr_decay_every: float = _option(5.0, "epochs between step decays", low=0.001, high=1e6)
    lr_decay_after: float = _option(0.0, "epochs before the first step decay", low=0.0, high=1e6)
    lr_patience: int = _option(3, "evaluations without a new best before plateau decays", low=1, high=1000)
    warmup: Every = _option("auto", "steps of linear warm-up, or a share such as 5%%", metavar="N|P%")
    clip: float | str = _option(AUTO, "gradient clip; auto: from the run's own norms",
                                metavar="X|off|auto")
    clip_kind: str = _option("norm", "norm: scale the whole gradient; element: clamp each element",
                             choices=("norm", "element"))
    weight_decay: float = _option(0.0, "weight decay (decoupled in adamw and muon)", low=0.0, high=10.0)
    betas: tuple[float, ...] = _option((0.9, 0.99), "Adam's decay rates", metavar="B1,B2")
    eps: float = _option(1e-8, "Adam's and RMSprop's epsilon", low=0.0, high=1.0)
    alpha: float = _option(0.99, "RMSprop's decay rate", low=0.0, high=0.999999)
    momentum: float = _option(0.9, "momentum of sgd", low=0.0, high=0.9999)

    steps: int = _option(0, "absolute last step, 0 is open-ended", low=0, high=10**12)
    epochs: float = _option(0.0, "absolute last epoch", low=0.0, high=1e9)
    minutes: float = _option(0.0, "minutes of the whole run, start to end", low=0.0, high=1e7)
    val: float = _option(0.1, "share of the text kept for validation, from its end", low=0.001, high=0.9)
    seed: int = _option(1, "seed of weights, batches and samples", low=0, high=2**63 - 1)
    device: str = _option("auto", "where to train: auto, cpu, cuda, cuda:1", metavar="NAME")
    threads: int | str = _option("auto", "compute threads", metavar="N|auto")
    precision: str = _option("auto", "number format of layers and head (tf32, fp16: on a GPU)",
                             choices=("auto", "fp32", "tf32", "bf16", "fp16"))
    graph: str = _option("auto", "steps as a CUDA graph; if that fails, auto trains without it, on ends the run",
                         choices=("auto", "on", "off"))
    encoding: str = _option("utf-8", "encoding of the text file")
    errors: str = _option("strict", "what to do with undecodable bytes", choices=("strict", "replace", "ignore"))
    limit: int = _option(0, "use only the first N characters, 0 is all", low=0, high=10**12)

    temperature: tuple[float, ...] = _option((0.5, 0.75, 1.0), "sampling temperatures, in turn", metavar="T,...")
    prompt: str = _option("random", "text that samples start from (random: an excerpt)")
    sample_length: int = _option(300, "characters per sample", low=1, high=100_000)
    sample_every: Every = _option("30s", "interval of samples", metavar="N|30s|5m|epoch")
    evaluate_every: Every = _option("auto", "interval of evaluations", metavar="N|30s|5m|epoch")
    checkpoint_every: Every = _option("60s", "interval of checkpoints; epoch: also by minute", metavar="N|30s|5m|epoch")
    snapshot_every: Every = _option("5s", "interval of snapshots in memory", metavar="N|30s|5m|epoch")
    keep: int = _option(3, "recent checkpoints kept beside the best and the pinned ones; 0 keeps all",
                        low=0, high=100_000)
    snapshot_memory: int = _option(0, "MB for snapshots; 0: a twentieth of the memory, or a quarter of a GPU's",
                                   low=0, high=10**7, metavar="MB")
    log: str = _option(OFF, "also write the run into another program's log", choices=(OFF, *LOGS))
    on_divergence: str = _option("rollback", "what the guard does when training breaks; in a cockpit it pauses",
                                 choices=tuple(GUARD_MODES))
    verify_guard: str = _option("off", "after the guard's rollback: did it help? a control, when the machine is idle",
                                choices=("off", "on"))

    @classmethod
    def of(cls, given: Mapping[str, Any], device: str = "cpu") -> "Config":
        """Return the preset for this device (`cpu` or `cuda`) overridden by the given values.

        Raises UsageError naming the key and the remedy.
        """
        preset = str(given.get("preset", "auto"))
        if preset not in PRESETS:
            raise UsageError(f"--preset {preset}: choose one of {', '.join(PRESETS)}")
        recipe = dict(PRESETS[preset])
        if any(name in given for name in ENDS):
            recipe = {name: value for name, value in recipe.items() if name not in ENDS}
        if preset == "auto" and device == "cuda":
            recipe |= _AUTO_CUDA
        ends = any(given.get(name) for name in ENDS)
        if preset == "auto" and not ends and not given.keys() & {"optimizer", "weight_decay"}:
            recipe |= _AUTO_OPEN_ENDED
        config = cls(**{**recipe, **given})
        # Checked only here: a sealed configuration also has the steps that its epochs or minutes were turned into.
        if sum(bool(getattr(config, name)) for name in ENDS) > 1:
            raise UsageError("--steps, --epochs and --minutes each set the end: give one of them")
        if "stride" in given and config.loss == "all" and config.stride != 1:
            raise UsageError("--stride belongs to --loss last; streams (--loss all) have no stride")
        budget = config.steps or config.epochs or config.minutes
        schedule = config.lr_schedule
        if schedule == "auto":
            schedule = "linear" if budget else "constant"
        if schedule in ("linear", "cosine") and not budget:
            raise UsageError(f"--lr-schedule {schedule} needs an end: add --steps, --epochs or --minutes, "
                             "or use constant and `land` before the end")
        lr = config.lr or default_lr(config, bool(budget))
        warmup = config.warmup
        if warmup == "auto":
            warmup = "5%" if budget and preset == "auto" else 0
        embedding = config.hidden if config.embedding == "auto" else config.embedding
        # Clamping single elements has no median norm to follow.
        clip = 1.0 if config.clip == AUTO and config.clip_kind == "element" and "clip" not in given else config.clip
        config = dataclasses.replace(config, clip=clip, lr=lr, lr_schedule=schedule, warmup=warmup, embedding=embedding)
        config.check()
        return config

    @classmethod
    def of_run(cls, kept: Mapping[str, Any]) -> "Config":
        """Return the sealed configuration from a run folder; fields that an older version lacks get their default.

        Raises UsageError naming a key that is unknown, of a wrong type or out of range.
        """
        hints = get_type_hints(cls)
        unknown = sorted(kept.keys() - hints.keys())
        if unknown:
            raise UsageError(f"config.json has the option {str(unknown[0])[:40]!r}, which this version does not know: "
                             "a newer version of tuitrain wrote it; use that one")
        for name, value in kept.items():
            if not _fits(hints[name], value):
                raise UsageError(f"config.json is damaged: {name} is {str(value)[:40]!r}")
        config = cls(**kept)
        try:
            config.check()
            for name in (*INTERVALS, "threads"):
                if name in PACED and parse_every(getattr(config, name))[1] in PACED[name]:
                    continue
                if not (type(getattr(config, name)) is int and getattr(config, name) >= 1):
                    raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: not a number of 1 or more")
            if config.device == AUTO or config.precision == "auto" or config.lr_schedule == "auto":
                raise UsageError("--device, --precision or --lr-schedule is not resolved")
        except UsageError as error:
            raise UsageError(f"config.json is damaged: {error}") from None
        return config

    def check(self) -> None:
        """Raise UsageError if a value is not valid."""
        for spec in dataclasses.fields(self):
            value, facts = getattr(self, spec.name), spec.metadata
            name = "--" + spec.name.replace("_", "-")
            if facts["choices"] and value not in facts["choices"]:
                raise UsageError(f"{name} {value}: choose one of {', '.join(facts['choices'])}")
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, float) and not math.isfinite(number):
                    raise UsageError(f"{name} {value}: must be a finite number")
            if facts["low"] is not None and not facts["low"] <= value <= facts["high"]:
                raise UsageError(f"{name} {value}: must be from {facts['low']:g} to {facts['high']:g}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise UsageError(f"--device {self.device}: choose one of auto, cpu, cuda, or cuda:1 for the second GPU")
        if self.embedding != "onehot" and not (isinstance(self.embedding, int) and self.embedding >= 1):
            raise UsageError(f"--embedding {self.embedding}: give a size of 1 or more, or onehot")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise UsageError("--betas: give two numbers from 0 to below 1, such as 0.9,0.999")
        if not self.temperature or not all(0.01 <= t <= 10 for t in self.temperature):
            raise UsageError("--temperature: give numbers from 0.01 to 10, such as 0.5,0.75,1.0")
        if self.clip != AUTO and not (isinstance(self.clip, int | float) and 0 <= self.clip <= 1e6):
            raise UsageError(f"--clip {self.clip}: give a number from 0 to 1e+06, or auto")
        if self.clip == AUTO and self.clip_kind == "element":
            raise UsageError("--clip auto goes with --clip-kind norm; give a number")
        if self.threads != "auto" and not (isinstance(self.threads, int) and 1 <= self.threads <= 1024):
            raise UsageError(f"--threads {self.threads}: give a number from 1 to 1024, or auto")
        if self.clip_kind == "element" and self.optimizer == "muon":
            raise UsageError("--clip-kind element does not go with --optimizer muon; use norm")
        for name in INTERVALS:
            parse_every(getattr(self, name), "--" + name.replace("_", "-"))
        _parse_warmup(self.warmup)

    def __post_init__(self) -> None:
        # JSON turns tuples into lists.
        for name in ("betas", "temperature"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


def _fits(hint: Any, value: Any) -> bool:
    """Return whether a value from JSON fits this type."""
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(get_args(hint)[0], member) for member in value)
    if get_origin(hint) is not None:
        return any(_fits(member, value) for member in get_args(hint))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


INTERVALS: Final = ("sample_every", "evaluate_every", "checkpoint_every", "snapshot_every")
PACED: Final = {"sample_every": ("seconds",), "snapshot_every": ("seconds",), "checkpoint_every": ("seconds", "epoch")}
"""What may go by the clock, because it influences nothing, and its units besides steps in a sealed configuration."""


def _parse_warmup(value: Every) -> tuple[float, str]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%)?", str(value))
    if match is None or (match[2] is None and "." in match[1]) or (match[2] and float(match[1]) > 100):
        raise UsageError(f"--warmup {value}: give steps such as 200 or a share such as 5%")
    return float(match[1]), "share" if match[2] else "steps"


def warmup_steps(value: Every, horizon: int) -> int:
    """Return the steps of warm-up; a share is one of `horizon` steps (0: open-ended, then of 4,000)."""
    number, unit = _parse_warmup(value)
    return int(number) if unit == "steps" else round(number / 100 * (horizon or 4000))


def default_lr(config: Config, budget: bool) -> float:
    """Return the default peak learning rate, which is lower for an open-ended run, because that holds it."""
    usual = optimizer(config.optimizer).lr
    if usual is not None:
        return usual
    return (1e-2 if budget else 3e-3) if config.hidden <= 256 else 2e-3


PRESETS: Final[dict[str, dict[str, Any]]] = {
    # The measured recipe: one-cycle Adam inside the budget, or a modest constant rate and `land` on demand. Batches
    # of 16 reach as many characters a second on one core as batches of 32, with twice the updates: .013 nat better
    # after a minute.
    "auto": {},
    # char-rnn as its train.lua has it: after epoch 10 the rate falls at each epoch's end, the first time at the end
    # of the 10th. Its clip clamps each element, which is different from clipping the norm.
    "char-rnn": {
        "layers": 2, "hidden": 128, "embedding": "onehot", "init": "uniform", "batch_size": 50, "bptt": 50,
        "optimizer": "rmsprop", "lr": 2e-3, "alpha": 0.95, "lr_schedule": "step", "lr_decay": 0.97,
        "lr_decay_every": 1.0, "lr_decay_after": 9.0, "clip": 5.0, "clip_kind": "element",
    },
    # tflearn's generator example, with a learning rate at which a run of it collapsed.
    "tflearn": {
        "layers": 3, "hidden": 512, "embedding": "onehot", "dropout": 0.5, "batch_size": 128, "bptt": 30,
        "loss": "last", "stride": 3, "optimizer": "adam", "lr": 5e-3, "betas": (0.9, 0.999), "clip": 5.0,
        "lr_schedule": "constant", "epochs": 50.0, "precision": "fp32", "val": 0.1,
        "temperature": (0.5, 0.75, 1.0), "sample_length": 1000, "sample_every": "epoch",
        "checkpoint_every": "epoch", "evaluate_every": "epoch", "keep": 0,
    },
}
# A run without an end never lowers its rate, and Adam's weights grow as long as that is so: 1x64 on a novel went from
# a norm of 89 at 10,000 steps to 224 at 190,000, and its tail of large gradients grew, too. With this decay the norm
# stays at 78 from 40,000 steps on, at the same validation loss.
_AUTO_OPEN_ENDED: Final[dict[str, Any]] = {"optimizer": "adamw", "weight_decay": 0.03}
_AUTO_CUDA: Final[dict[str, Any]] = {"layers": 3, "hidden": 512, "batch_size": 128, "bptt": 100, "dropout": 0.2}
