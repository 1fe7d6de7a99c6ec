"""Named places where a test can make the process die or a call fail. Costs one dictionary look-up."""

import os

EXIT_CODE = 86


def reached(name: str) -> None:
    """Die here if `TUITRAIN_FAILPOINT=name`; raise ENOSPC here if `TUITRAIN_FULL=name`."""
    if os.environ.get("TUITRAIN_FAILPOINT") == name:
        os._exit(EXIT_CODE)
    if os.environ.get("TUITRAIN_FULL") == name:
        raise OSError(28, "No space left on device")
