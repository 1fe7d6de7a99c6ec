"""Options from the environment (`TUITRAIN_LR=0.01`), from a file in the run folder and from the user's own file.

A typed option takes precedence, then these in this order, then the preset.

The files are TOML, named tuitrain.toml, with the names of the options: `lr = 0.01`, `sample-every = "30s"`.
"""

import argparse
import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuitrain.charlstm.config import PRESETS, Config
from tuitrain.cli import options
from tuitrain.errors import UsageError, nearest

PREFIX = "TUITRAIN_"
NOT_OPTIONS = {"TRACEBACK", "FAILPOINT", "FULL", "MALLOPT", "BY", "RUN", "RANK_TIMEOUT"}
"""Variables with the prefix that are not options."""
FILE = "tuitrain.toml"
ENDS = ("steps", "epochs", "minutes")
"""Three ways to set the length of a run; the one with the highest precedence overrides the others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A value and its origin, such as an option, a variable or a file."""

    value: Any
    origin: str


def in_force(typed: Mapping[str, Any], folder: Path | None,
             environment: Mapping[str, str] = os.environ) -> dict[str, Setting]:
    """Return the fields of Config that were given, by precedence. Raises UsageError naming place and key."""
    found = {name: Setting(value, "--" + name.replace("_", "-")) for name, value in typed.items()}
    for layer in (_of_environment(environment), *(_of_file(path) for path in _files(folder))):
        ended = any(name in found for name in ENDS)
        found |= {name: s for name, s in layer.items() if name not in found and not (ended and name in ENDS)}
    return found


def table(found: Mapping[str, Setting]) -> str:
    """Return the whole configuration in the form of a settings file, with the origin of each value."""
    config = Config.of({name: s.value for name, s in found.items()})
    preset = PRESETS[config.preset]
    rows = []
    for spec in dataclasses.fields(Config):
        if spec.name in options.NOT_OPTIONS:
            continue
        origin = found[spec.name].origin if spec.name in found else (
            f"preset {config.preset}" if spec.name in preset else "default")
        value = getattr(config, spec.name)
        rows.append((f"{spec.name.replace('_', '-')} = {json.dumps(value)}", origin))
    width = max(len(row) for row, _ in rows)
    return "\n".join(f"{row.ljust(width)}  # {origin}" for row, origin in rows)


def _files(folder: Path | None) -> list[Path]:
    import platformdirs

    own = platformdirs.user_config_path("tuitrain", appauthor=False) / FILE
    return [*([folder / FILE] if folder is not None else []), own]


def _of_environment(environment: Mapping[str, str]) -> dict[str, Setting]:
    found = {}
    for key in sorted(environment):
        name = key.removeprefix(PREFIX)
        if name != key and name not in NOT_OPTIONS:
            field = _field(name, key)
            found[field] = Setting(_value(field, environment[key], key), key)
    return found


def _of_file(path: Path) -> dict[str, Setting]:
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    found = {}
    for key, value in body.items():
        if isinstance(value, dict):
            raise UsageError(f"{path}: [{key}] is a table; write options at the top level")
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        name = _field(key, f"{path}: {key}")
        found[name] = Setting(_value(name, text, f"{path}: {key}"), str(path))
    return found


def _field(name: str, place: str) -> str:
    names = [spec.name for spec in dataclasses.fields(Config) if spec.name not in options.NOT_OPTIONS]
    wanted = name.lower().replace("-", "_")
    if wanted in names:
        return wanted
    near = nearest(wanted, names, 0.5)
    raise UsageError(f"{place}: no such option"
                     + (f"; did you mean {near.replace('_', '-')}?" if near else "; `--help` lists them"))


def _value(name: str, text: str, place: str) -> Any:
    [spec] = [spec for spec in dataclasses.fields(Config) if spec.name == name]
    try:
        value = options.reader(spec)(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{place}: {text!r} is not valid ({error})") from None
    choices = spec.metadata["choices"]
    if choices and value not in choices:
        raise UsageError(f"{place}: {text!r} is not valid; choose one of {', '.join(choices)}")
    return value
