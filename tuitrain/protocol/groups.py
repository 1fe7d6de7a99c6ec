"""Names of parameter groups and matrices that mean something: the LSTM's layers and their recurrent weights.

These are the names in `norms`, `weights`, `update_ratio` and `rms`. The groups of somebody's own model have names of
its own, and none of these unless it is such a layer.
"""

import re

_LAYER = re.compile(r"layer [1-9]\d*")
_RECURRENT = re.compile(r"W_hh [1-9]\d*")


def layer(number: int) -> str:
    """The group of a recurrent layer, counted from 1."""
    return f"layer {number}"


def is_layer(group: str) -> bool:
    """Whether a group is a recurrent layer."""
    return _LAYER.fullmatch(group) is not None


def is_recurrent(matrix: str) -> bool:
    """Whether a matrix leads from one step of time to the next."""
    return _RECURRENT.fullmatch(matrix) is not None
