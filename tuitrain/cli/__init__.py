"""The command line: arguments -> Config -> a front end. The one place that wires layers; heavy imports come late."""
