"""Train a character LSTM and steer it while it learns."""

__version__ = "0.1.0"
