"""One pane a file: state in, lines out. Panes know neither sessions nor each other."""
