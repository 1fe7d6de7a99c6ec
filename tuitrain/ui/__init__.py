"""The cockpit: a picture of RunState, and keys that become commands. No torch, no engine."""
