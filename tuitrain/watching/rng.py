"""Saves and restores the state of every random generator: Python's, NumPy's, torch's, and each GPU's."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def states() -> dict[str, Any]:
    """Return the states in a form that `packing` takes. Synchronises with no GPU: its generators live on the host."""
    found: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False),
                             "torch": torch.get_rng_state()}
    version, words, gauss = found["python"]
    found["python"] = {"version": version, "words": np.array(words, dtype=np.int64), "gauss": gauss}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = {str(i): torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def restore(found: Mapping[str, Any]) -> None:
    """Restore what `states` returned; devices that this machine lacks are skipped."""
    python = found["python"]
    gauss = python["gauss"]
    random.setstate((int(python["version"]), tuple(int(w) for w in python["words"]), gauss))
    np.random.set_state(dict(found["numpy"]))
    torch.set_rng_state(found["torch"].cpu())
    if "cuda" in found and torch.cuda.is_available():
        for index, state in found["cuda"].items():
            if int(index) < torch.cuda.device_count():
                torch.cuda.set_rng_state(state.cpu(), int(index))
    if "mps" in found and torch.backends.mps.is_available():
        torch.mps.set_rng_state(found["mps"].cpu())
