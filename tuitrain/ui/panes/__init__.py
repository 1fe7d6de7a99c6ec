"""The panes, one per file: they turn a state into lines, and know neither sessions nor each other."""
