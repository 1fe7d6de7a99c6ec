"""Options that were not typed: from the environment (`TUITRAIN_LR=0.01`), a file in the run's folder, a file of the
person's. A typed option comes first, then these in this order, then the preset.

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
OTHERS = {"TRACEBACK", "FAILPOINT", "FULL", "MALLOPT", "BY", "RUN"}
"""Variables that are no options."""
FILE = "tuitrain.toml"
ENDS = ("steps", "epochs", "minutes")
"""Say the same in three ways: one of them that comes first drops the others that come later."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it is from."""

    value: Any
    origin: str


def in_force(typed: Mapping[str, Any], folder: Path | None,
             environment: Mapping[str, str] = os.environ) -> dict[str, Setting]:
    """The fields of Config that anybody gave, the first one who did. Raises UsageError naming place and key."""
    found = {name: Setting(value, "--" + name.replace("_", "-")) for name, value in typed.items()}
    for layer in (_of_environment(environment), *(_of_file(path) for path in _files(folder))):
        ended = any(name in found for name in ENDS)
        found |= {name: s for name, s in layer.items() if name not in found and not (ended and name in ENDS)}
    return found


def table(found: Mapping[str, Setting]) -> str:
    """All of the configuration as a file of settings, with where each value is from."""
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
        if name != key and name not in OTHERS:
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
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    found = {}
    for key, value in body.items():
        if isinstance(value, dict):
            raise UsageError(f"{path}: [{key}] is a table; the names of the options stand without one")
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
    raise UsageError(f"{place}: there is no option of that name"
                     + (f"; did you mean {near.replace('_', '-')}?" if near else "; `--help` lists them"))


def _value(name: str, text: str, place: str) -> Any:
    [spec] = [spec for spec in dataclasses.fields(Config) if spec.name == name]
    try:
        value = options.reader(spec)(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{place}: {text!r} cannot be meant ({error})") from None
    choices = spec.metadata["choices"]
    if choices and value not in choices:
        raise UsageError(f"{place}: {text!r} cannot be meant; choose one of {', '.join(choices)}")
    return value
