"""The words that cross every boundary: events, commands, their codec, and what a session is."""
