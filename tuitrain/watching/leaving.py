"""How a script left: by the exception that ended it, or by `sys.exit`, of which Python keeps no trace until the end."""

import sys
import threading
from typing import Any, NoReturn

_asked: list[SystemExit] = []
"""What `sys.exit` raised last and nothing is known to have caught."""


def notice_exit() -> None:
    """Have `sys.exit` note its code from now on. May be called again."""
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
    return error or (_asked[0] if _asked else None)
