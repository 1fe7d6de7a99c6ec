"""Serves a running session on a unix socket, and connects to one. No torch here."""
