"""The process of an arm: trains the pickled task on its standard input, and ends when that does.

So an arm never outlives the process that races it, whatever becomes of that.
"""

import os
import pickle
import sys
import threading
from typing import IO

from tuitrain.charlstm import runtime


def main(pipe: IO[bytes]) -> None:
    """Train the task that is read from a pipe. Raises TuitrainError."""
    runtime.before_torch()
    task = pickle.load(pipe)

    def end_with_the_parent() -> None:
        pipe.read()
        os._exit(1)

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    task()


if __name__ == "__main__":
    main(sys.stdin.buffer)
    os._exit(0)  # a thread still reads from the pipe
