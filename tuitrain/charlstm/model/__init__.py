"""The network, its optimizers, and one step of learning."""
