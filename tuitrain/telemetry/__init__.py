"""Facts kept for showing, folded from events. No torch, no terminal."""
