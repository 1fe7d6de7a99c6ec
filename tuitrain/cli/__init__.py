"""The command line: from arguments to a Config to a front end. The only package that wires layers; imports lazily."""
