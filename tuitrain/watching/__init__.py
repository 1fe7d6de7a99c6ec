"""Any PyTorch training loop as a run: `tuitrain.watch(model, optimizer)` returns a Pilot.

Knows nothing of text or LSTMs.
"""

from tuitrain.watching.opening import watch
from tuitrain.watching.pilot import Pilot

__all__ = ["Pilot", "watch"]
