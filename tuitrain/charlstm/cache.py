"""Small JSON files in the person's cache: what was measured on this machine and is measured again if it is lost."""

import json
import os
from pathlib import Path
from typing import Any


def path(name: str) -> Path:
    """The file of this name, which need not exist."""
    import platformdirs  # late: `--help` does without

    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / name


def read(name: str) -> dict[str, Any]:
    """The object in a file; empty where there is none, or something else."""
    try:
        known = json.loads(path(name).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write(name: str, known: dict[str, Any]) -> None:
    """Replace a file at once. Where there is no cache to write to, nothing is kept."""
    file = path(name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(known))
        part.replace(file)
    except OSError:
        return
