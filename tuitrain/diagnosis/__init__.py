"""Diagnosis: rules and verdicts about a run's health, computed from its events. numpy and the standard library only."""
