"""A run read from its journal: its state up to now, a read-only session, a replay. Nothing here can steer it."""
