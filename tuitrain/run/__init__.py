"""A run is a folder: configuration, journal, checkpoints, lock. No torch here."""
