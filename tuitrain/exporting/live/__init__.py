"""A run written into TensorBoard, wandb, trackio or mlflow while it trains, by their own libraries.

`check` says before a run starts whether a library is here; `log.Log` writes. What a library does wrong turns its log
off and nothing else.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import cast

from tuitrain.errors import UsageError
from tuitrain.exporting.live.target import About, Target
from tuitrain.specs import LOGS


def check(name: str) -> None:
    """Raise UsageError if the library of a log is not installed. Imports nothing."""
    if name not in LOGS or importlib.util.find_spec(LOGS[name].module) is not None:
        return
    raise UsageError(f"--log {name}: {LOGS[name].module} is not here: pip install 'tuitrain[{LOGS[name].extra}]'")


def opener(name: str) -> Callable[[About], Target]:
    """Return the function that opens a log of this name; it imports the library, so call it in the log's thread."""
    def opened(about: About) -> Target:
        module = importlib.import_module(f"tuitrain.exporting.live.to_{name}")
        return cast(Target, module.open_log(about))

    return opened
