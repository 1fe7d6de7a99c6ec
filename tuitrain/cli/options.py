"""Makes command-line options from the fields of Config, which declare name, type and help."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuitrain.charlstm.config import AUTO, INTERVALS, Config
from tuitrain.errors import RunError, UsageError
from tuitrain.intervals import parse_every
from tuitrain.run.directory import RunDirectory

NOT_OPTIONS = ("corpus",)
GROUPS = {
    "model": ("preset", "cell", "layers", "hidden", "embedding", "dropout", "init", "batch_size", "bptt", "loss",
              "stride"),
    "optimizer": ("optimizer", "lr", "lr_schedule", "lr_decay", "lr_decay_every", "lr_decay_after", "lr_patience",
                  "warmup", "clip", "clip_kind", "weight_decay", "betas", "eps", "alpha", "momentum"),
    "length and data": ("steps", "epochs", "minutes", "val", "seed", "encoding", "errors", "limit"),
    "machine": ("device", "threads", "precision", "graph"),
    "beside training": ("temperature", "prompt", "sample_length", "sample_every", "evaluate_every",
                        "checkpoint_every", "snapshot_every", "keep", "snapshot_memory", "log", "on_divergence",
                        "verify_guard"),
}
COMMON = ("preset", "cell", "layers", "hidden", "batch_size", "bptt", "optimizer", "lr", "clip", "steps", "epochs",
          "minutes", "device", "temperature", "prompt", "on_divergence")
"""Options that `--help` shows; `--help-all` shows every option."""
KNOBS = ("lr", "clip", "temperature", "prompt")


class HelpAll(argparse.Action):
    """Print the help including the options that `--help` leaves out."""

    def __init__(self, *, rare: dict[argparse.Action, str], **words: Any) -> None:
        super().__init__(default=argparse.SUPPRESS, **words)
        self._rare = rare

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        """Called by argparse."""
        for action, words in self._rare.items():
            action.help = words
        parser.print_help()
        parser.exit()


def add(parser: argparse.ArgumentParser, names: tuple[str, ...] | None = None) -> None:
    """Add the options of these fields (None: all); options that are not given are absent from the result."""
    fields = {spec.name: spec for spec in dataclasses.fields(Config)}
    common = parser.add_argument_group("training")
    rare: dict[argparse.Action, str] = {}
    for title, members in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in members if names is None else (m for m in members if m in names):
            keywords, shown = _keywords(fields[name], defaults=names is None), names is not None or name in COMMON
            action = (common if shown else group).add_argument("--" + name.replace("_", "-"), dest=name, **keywords)
            if not shown:
                rare[action], action.help = keywords["help"], argparse.SUPPRESS
    if rare:
        parser.add_argument("--help-all", action=HelpAll, nargs=0, help="show all options, the rare ones too",
                            rare=rare)


def _keywords(spec: Any, *, defaults: bool) -> dict[str, Any]:
    choices = spec.metadata["choices"]
    remarks = [", ".join(choices)] if choices else []
    remarks += [f"default {_default(spec)}"] if defaults and _default(spec) else []
    words = spec.metadata["help"] + (f" ({'; '.join(remarks)})" if remarks else "")
    keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": words}
    if choices:
        return keywords | {"choices": choices, "metavar": "NAME"}
    read = above_zero if spec.name in ("epochs", "minutes") else reader(spec)
    return keywords | {"type": read, "metavar": spec.metadata["metavar"] or _letter(spec)}


def _default(spec: Any) -> str:
    """Return the default as text; empty where the help already explains what 0 or a word means."""
    value = ",".join(map(str, spec.default)) if isinstance(spec.default, tuple) else spec.default
    in_help = (value == 0 and spec.name != "dropout") or (isinstance(value, str) and value in spec.metadata["help"])
    return "" if in_help else str(value)


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the Config fields that were given."""
    names = {spec.name for spec in dataclasses.fields(Config)}
    return {k: v for k, v in vars(arguments).items() if k in names and v is not None}


def to_arguments(values: dict[str, Any]) -> list[str]:
    """Return the options that give these values."""
    return [f"--{name.replace('_', '-')}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
            for name, v in values.items() if name not in NOT_OPTIONS and (v or name not in ("epochs", "minutes"))]


def _letter(spec: Any) -> str:
    return "N" if spec.type in (int, "int") else "X" if spec.type in (float, "float") else "TEXT"


def reader(spec: Any) -> Any:
    """Return the function that converts the text of an option into the value of its field."""
    if spec.name in INTERVALS:
        return _interval
    if spec.name in ("embedding", "threads", "warmup"):
        return _number_or_word
    if spec.name == "clip":
        return _clip
    if isinstance(spec.default, tuple):
        return _numbers
    return {bool: bool, int: _whole, float: float}.get(type(spec.default), str)


def _whole(text: str) -> int:
    return int(text.replace("_", ""))


_whole.__name__ = "whole number"


def above_zero(text: str) -> float:
    """Convert the length of a run, which cannot be 0. Raises ArgumentTypeError."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0, or leave it out for a run without an end")
    return value


above_zero.__name__ = "number"


def run_folder(text: str) -> RunDirectory:
    """Return the run folder that a person named. Raises RunError if it is a file."""
    path = Path(text)
    if path.is_file():
        raise RunError(f"{path} is a file, not a run folder; to train on it: `tuitrain {path}`")
    return RunDirectory(path)


def is_script_run(kept: Mapping[str, Any]) -> bool:
    """Return whether this content of config.json belongs to a loop watched by `tuitrain.watch`."""
    config = kept.get("config", {})
    return isinstance(config, Mapping) and config.get("kind") == "watched"


def character_run(folder: RunDirectory) -> dict[str, Any]:
    """Return the content of config.json of a run of the character model. Raises RunError if the run is a script's."""
    kept = folder.read_config()
    if is_script_run(kept):
        raise RunError(f"{folder.path} is a run of the script {kept.get('corpus_name', '')!r}; run the script again "
                       f"with tuitrain.watch(…, run={str(folder.path)!r}, resume=True)")
    return kept


def _number_or_word(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _clip(text: str) -> float | str:
    return text if text == AUTO else 0.0 if text == "off" else float(text)


_clip.__name__ = "number, off or auto"


def _interval(text: str) -> int | str:
    try:
        parse_every(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return _number_or_word(text)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_numbers.__name__ = "list of numbers"
