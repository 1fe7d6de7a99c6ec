"""Opens the cockpit on a run; the one place that knows both the cockpit and how a run is reached."""

import os
import sys
from collections.abc import Callable

from tuitrain.protocol.session import Session
from tuitrain.run.directory import RunDirectory, is_alive


def has_screen() -> bool:
    """All three streams are terminals, and not a dumb one. Textual draws on standard error."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(s is not None and s.isatty() for s in streams) and os.environ.get("TERM", "dumb") != "dumb"


def draws_braille() -> bool:
    """Whether the terminal's encoding has the characters of the plots."""
    try:
        "⣿╌█◇".encode(sys.stderr.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show(folder: RunDirectory, connect: Callable[[], Session]) -> int:
    """The cockpit until the person leaves; returns the exit code. Raises what hindered it from connecting."""
    from tuitrain.ui.app import CockpitApp

    app = CockpitApp(folder.path, connect, braille=draws_braille())
    try:
        app.run()
    finally:
        if app.session is not None:
            app.session.close()
    if app.failure is not None:
        raise app.failure
    alive = is_alive(folder)
    if app.return_code:
        print(f"tuitrain: the cockpit failed; training {'goes on' if alive else 'is not running'}", file=sys.stderr)
    if alive:
        print(f"tuitrain: training goes on; come back with `tuitrain attach {folder.path}`", file=sys.stderr)
    elif app.state.status == "ended":
        print(f"tuitrain: {app.state.ended} at step {app.state.step:,}; go on with `tuitrain resume {folder.path}`",
              file=sys.stderr)
    return int(app.return_code or 0)
