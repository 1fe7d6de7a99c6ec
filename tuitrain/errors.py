"""The short tree of errors and the exit codes.

    TuitrainError            exit 1
    ├── UsageError           exit 2   an option or a command is wrong
    │   └── CorpusError      exit 2   the text cannot be trained on
    ├── RunError             exit 1   the run folder is missing, locked or not what it should be
    │   └── CheckpointError  exit 1   a checkpoint is missing or damaged
    └── Refused              exit 1   the engine understood a command and will not do it
        └── NoRoom           exit 1   no memory is left for a copy of the run's state

Every message is one line that names the thing and the remedy.
"""

import difflib
import errno
from collections.abc import Iterable

FINISHED = 0
ERROR = 1
USAGE = 2
DIVERGED = 3
OUT_OF_TIME = 75
"""sysexits' EX_TEMPFAIL, "try again": the run has saved and a job script should resume it."""
INTERRUPTED = 130
QUIT = 131
TERMINATED = 143


class TuitrainError(Exception):
    """Anything a person can be told in one line."""

    exit_code = ERROR


class UsageError(TuitrainError):
    """An option, a value or a combination that cannot be meant."""

    exit_code = USAGE


class CorpusError(UsageError):
    """A text that is missing, unreadable or too short."""


class RunError(TuitrainError):
    """A run folder that is missing, locked or unreadable."""


class CheckpointError(RunError):
    """A checkpoint that is missing or does not match its own checksum."""


class Refused(TuitrainError):
    """A command that the engine will not carry out; it becomes CommandRefused."""


class NoRoom(Refused):
    """There is no memory left for a copy of the run's state."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python says so by class, torch and the loader of libraries in words alone."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM) or any(
        said in words for said in ("can't allocate memory", "cannot allocate memory", "out of memory",
                                   "failed to map segment", "cannot create thread", "can't start new thread"))


def what_failed(error: Exception) -> str:
    """Return one line for a person: the class and message of an unexpected error, and what helps if memory ran out."""
    words = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
    if not is_out_of_memory(error):
        return words
    return f"memory ran out ({words}): free some, or train a new run with a smaller --hidden, --batch-size or --bptt"


def nearest(word: str, names: Iterable[str], likeness: float = 0.6) -> str:
    """The name that was probably meant, or nothing; `likeness` is 1 for the same word."""
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=likeness)), "")
