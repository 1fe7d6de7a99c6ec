"""Train a character LSTM, or watch any PyTorch loop, and steer it while it learns."""

import importlib
from typing import Any

__version__ = "0.1.0"
PUBLIC = ("watch", "Pilot")
"""What a script imports, from a room that loads torch: it is entered when they are used."""


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(importlib.import_module("tuitrain.watching"), name)
    raise AttributeError(f"module 'tuitrain' has no attribute {name!r}")
