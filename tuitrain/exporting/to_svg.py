"""A picture of a run through matplotlib: losses, gradient norms and the acts that moved them, over steps."""

import io
import math

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tuitrain.comparing.records import smooth
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import safe

TRAIN, VALIDATION, NORM, CLIP, ACT, ALARM = "#1f77b4", "#d2691e", "#2e7d32", "#9c27b0", "#777777", "#c62828"
GAP = 0.04
"""Share of the height left free above and below the curves."""


def draw(state: RunState, title: str) -> str:
    """Return the picture as SVG, with its text as text. Steps whose numbers were not finite are marked, not drawn."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tuitrain", "font.size": 9, "axes.spines.top": False,
                     "axes.spines.right": False}):
        figure = Figure(figsize=(9, 6), layout="constrained")
        losses, norms = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        figure.suptitle(_plain(title), x=0.01, ha="left", fontsize=11)
        _losses(losses, state)
        _norms(norms, state)
        for axes in (losses, norms):
            for mark in state.story.marks:
                if state.lineage.holds(mark.branch, mark.step):
                    axes.axvline(mark.step, color=ALARM if mark.alarming else ACT, lw=0.6, ls=":", zorder=0)
        norms.set_xlabel("step (dotted: acts and alarms)")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "tuitrain"})
    return out.getvalue()


def _losses(axes: Axes, state: RunState) -> None:
    steps, low, high, mean, bad = state.losses.buckets()
    scale = state.unit.scale
    axes.fill_between(steps, low * scale, high * scale, color=TRAIN, alpha=0.15, lw=0)
    axes.plot(steps, smooth(mean * scale), color=TRAIN, lw=1.2, label="training")
    whole = np.array(state.validation.whole, dtype=float).reshape(-1, 2)
    if len(whole):
        axes.plot(whole[:, 0], whole[:, 1] * scale, "o", ms=4, mfc="none", color=VALIDATION, label="validation")
    if bad.any():
        axes.plot(steps[bad > 0], np.zeros(int((bad > 0).sum())), "x", ms=5, color=ALARM, label="not finite",
                  transform=axes.get_xaxis_transform(), clip_on=False)
    # A collapse stays in the picture, the loss of the first steps does not.
    usual = np.concatenate([(high * scale)[len(high) // 10 :], (low * scale)[len(low) // 10 :], whole[:, 1] * scale])
    usual = usual[np.isfinite(usual)]
    if len(usual):
        room = max(float(usual.max() - usual.min()), 1e-6 * max(1.0, float(abs(usual).max()))) * GAP
        axes.set_ylim(float(usual.min()) - room, float(usual.max()) + room)
    low_end, high_end = axes.get_ylim()
    for name, level in state.facts.levels.items():
        if low_end <= level <= high_end:
            axes.axhline(level, color=ACT, lw=0.6, ls="--")
            axes.annotate(_plain(name), (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          fontsize=7, color=ACT, in_layout=False)
    axes.set_ylabel(_plain(f"loss, {state.unit.name}" if state.unit.name != "loss" else "loss"))
    axes.legend(frameon=False, loc="upper right")


def _norms(axes: Axes, state: RunState) -> None:
    steps, low, high, mean, _ = state.grad_norms.buckets()
    axes.fill_between(steps, low, high, color=NORM, alpha=0.15, lw=0)
    axes.plot(steps, smooth(mean), color=NORM, lw=1, label="gradient norm")
    clip = float(state.knobs.get("clip") or 0.0)
    if clip:
        axes.axhline(clip, color=CLIP, lw=0.9, ls="--", label="clip")
    if np.nanmin(low, initial=math.inf) > 0:
        axes.set_yscale("log")
    axes.set_ylabel("L2 before clipping")
    axes.legend(frameon=False, loc="upper right")


def _plain(text: str) -> str:
    """Return text that matplotlib takes as it stands: a dollar would begin a formula."""
    return safe(text).replace("$", r"\$")
