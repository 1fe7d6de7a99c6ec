"""The training loop, its worker, snapshots and steering, for any model. Does not know that it is watched."""
