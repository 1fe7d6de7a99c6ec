"""Measurements and experiments, above the engine."""
