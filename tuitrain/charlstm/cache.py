"""Small JSON files in the user's cache, for measurements of this machine that can be repeated if they are lost."""

import json
import os
from pathlib import Path
from typing import Any


def path(name: str) -> Path:
    """Return the path of a cache file, which need not exist."""
    import platformdirs  # late, because `--help` does not need it

    return Path(platformdirs.user_cache_dir("tuitrain", appauthor=False)) / name


def read(name: str) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is no such file, or no object in it."""
    try:
        known = json.loads(path(name).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write(name: str, known: dict[str, Any]) -> None:
    """Replace a file atomically. Does nothing if the cache cannot be written."""
    file = path(name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps(known))
        part.replace(file)
    except OSError:
        return
