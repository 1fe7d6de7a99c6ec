"""Scales an optimizer's moments as if they had been made of gradients under another clip. Knows no run."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FIRST, SQUARED = ("exp_avg",), ("exp_avg_sq", "square_avg")
"""The names of moments that are as large as a gradient, and as its square."""


def moment_scale(norms: NDArray[np.float64], old: float, new: float) -> float:
    """By what factor another clip makes the usual gradient smaller or larger; `norms` before clipping, clip 0 is off.

    An optimizer that divides by a running mean of squares would take a lower clip for smaller steps until that mean has
    followed, some 1,000 steps later: longer than a race, which would then compare learning rates. So the moments start
    as if they had been made of gradients under the new clip.
    """
    good = norms[np.isfinite(norms) & (norms > 0)]
    if old == new or not len(good):
        return 1.0
    kept = [float(np.minimum(1.0, clip / good).mean()) if clip > 0 else 1.0 for clip in (old, new)]
    return kept[1] / kept[0]


def scale_moments(tensors: Mapping[str, Tensor], factor: float) -> None:
    """Multiply an optimizer's moments by the factor, their squares by its square."""
    if factor == 1.0:
        return
    with torch.no_grad():
        for name, tensor in tensors.items():
            kind = name.split(".")[-1]
            if kind in FIRST:
                tensor.mul_(factor)
            elif kind in SQUARED:
                tensor.mul_(factor * factor)
