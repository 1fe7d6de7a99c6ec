"""How a script left: by the exception that ended it, by `sys.exit`, or by a SystemExit that it raised itself.

Python keeps no trace of a SystemExit until the end, so `sys.exit` notes its code; of one that was raised in another way
only the place is known where the script's own code stopped.
"""

import dis
import sys
import threading
from types import FrameType
from typing import Any, NoReturn


class UnseenExit(SystemExit):
    """The script raised SystemExit itself; its code is not known."""


_script: list[FrameType] = []
"""The frame of the script's top level."""
_asked: list[SystemExit] = []
"""What `sys.exit` raised last and nothing is known to have caught."""


def notice_exit() -> None:
    """Have `sys.exit` note its code from now on. May be called again."""
    _script[:] = [frame for frame in _frames() if frame.f_globals.get("__name__") == "__main__"][-1:]
    inner = sys.exit
    if getattr(inner, "noticed", False):
        return

    def leave(status: Any = None, /) -> NoReturn:
        if threading.current_thread() is threading.main_thread():  # elsewhere it ends a thread, not the script
            _asked[:] = [SystemExit(status)]
        inner(status)

    leave.noticed = True  # type: ignore[attr-defined]
    leave.__doc__ = inner.__doc__
    sys.exit = leave


def goes_on() -> None:
    """The script is still at work: an exit that was asked for was caught."""
    _asked.clear()


def how_it_left() -> BaseException | None:
    """At the end of the interpreter: what ended the script; None if it came to its end."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if error is not None or _asked:
        return error or _asked[0]
    return UnseenExit() if _script and not _has_returned(_script[0]) else None


def _frames() -> list[FrameType]:
    """Return the frames of the calls in progress, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _has_returned(frame: FrameType) -> bool:
    """Whether the last instruction of a frame that is over was its return, and not one that raised."""
    last = next((one for one in dis.get_instructions(frame.f_code) if one.offset == frame.f_lasti), None)
    return last is None or last.opname.startswith("RETURN")
