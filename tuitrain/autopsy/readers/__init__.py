"""The formats of checkpoints that can be read, one module each, found by content and never by name."""

from tuitrain.autopsy.readers.own import Own
from tuitrain.autopsy.readers.pytorch import PyTorch
from tuitrain.autopsy.readers.reader import Reader
from tuitrain.autopsy.readers.tensorflow import TensorFlow

READERS: tuple[Reader, ...] = (Own(), PyTorch(), TensorFlow())
"""In the order in which they claim the files of a folder."""
