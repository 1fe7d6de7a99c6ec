"""Named points where a test can kill the process or make a call fail. Costs one dictionary look-up.

There is one before and after every system call of a save and of a journal append; `NAMES` lists them.
"""

import os

EXIT_CODE = 86

_FILE = ("before-open", "opened", "written", "synced")
SAVE = (*(f"tensors-{at}" for at in _FILE), *(f"mark-{at}" for at in _FILE), "tensors-renamed", "names-synced",
        "journal-before-sync", "journal-synced", "mark-renamed", "committed")
APPEND = ("line-before-write", "line-half-written", "line-written")
PRUNE = ("pruning", "pruned-mark", "pruned")
START = (*(f"text-{at}" for at in _FILE), "text-renamed", "text-folder-synced",
         *(f"config-{at}" for at in _FILE), "config-renamed", "config-folder-synced")
NAMES = (*START, *APPEND, *SAVE, *PRUNE)


def reached(name: str) -> None:
    """Exit here if `TUITRAIN_FAILPOINT=name` (`name:3`: the third time); raise ENOSPC if `TUITRAIN_FULL=name`."""
    die = os.environ.get("TUITRAIN_FAILPOINT")
    if die is not None and die.partition(":")[0] == name:
        count = int(die.partition(":")[2] or 1)
        if count <= 1:
            os._exit(EXIT_CODE)
        os.environ["TUITRAIN_FAILPOINT"] = f"{name}:{count - 1}"
    if os.environ.get("TUITRAIN_FULL") == name:
        raise OSError(28, "No space left on device")
