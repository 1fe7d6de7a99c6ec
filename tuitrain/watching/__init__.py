"""Anybody's own PyTorch loop as a run: `tuitrain.watch(model, optimizer)` gives a Pilot. Knows no text and no LSTM."""

from tuitrain.watching.opening import watch
from tuitrain.watching.pilot import Pilot

__all__ = ["Pilot", "watch"]
