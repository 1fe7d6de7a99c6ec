"""Training: the only layer that knows torch. It does not know that it is watched."""
