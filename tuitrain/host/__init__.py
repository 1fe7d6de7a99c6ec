"""A running session offered on a unix socket, and the far end of it. No torch here."""
