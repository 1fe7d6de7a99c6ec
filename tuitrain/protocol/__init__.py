"""The messages that cross every boundary: events, commands, their codec, and the Session interface."""
