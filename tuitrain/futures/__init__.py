"""Futures of a run: from a restore point it is trained on with other knobs, and the arms are compared."""
