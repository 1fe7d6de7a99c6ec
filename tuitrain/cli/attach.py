"""Watch and steer a live run; leaving the cockpit does not stop it.

example: tuitrain attach runs/copperfield-1
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.cli import screen
from tuitrain.cli.options import run_folder
from tuitrain.errors import RunError
from tuitrain.protocol import askers
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, find_runs, host_of, is_alive
from tuitrain.telemetry.units import safe

if TYPE_CHECKING:
    from tuitrain.host.client import SocketSession
    from tuitrain.recording.sessions import Look

RECENTLY = 120.0
"""Seconds within which a live run writes to its journal, on any machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and how to show it."""
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run folder (default: the newest that is running)")
    screen.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the journal's lines on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Show the run until it ends or the person leaves; returns the exit code."""
    from tuitrain.recording.sessions import Look

    folder = run_folder(arguments.run) if arguments.run else newest_alive(Path("runs"))
    if arguments.no_ui or arguments.json or not screen.has_screen():
        return _lines(folder, arguments.json)
    # Fails, if it does, before the screen opens.
    session = _session(folder, askers.PERSON)
    look = isinstance(session, Look)
    return screen.show(folder, lambda: session, mouse=arguments.mouse, goes_on=not look, at_once=True)


def _session(folder: RunDirectory, by: str) -> "SocketSession | Look":
    """Connect to a run by its socket or, where that cannot be reached, by reading its journal. Raises RunError."""
    from tuitrain.host.client import SocketSession

    if folder.socket.exists():
        try:
            return SocketSession(folder, watch=True, by=by)
        except RunError:
            if not host_of(folder):
                raise
    return _look(folder)


def _look(folder: RunDirectory) -> "Look":
    """Open a read-only view of a run on another machine or on a file system without sockets. Raises RunError."""
    from tuitrain.recording.sessions import Look

    folder.read_config()
    host = host_of(folder)
    if host and not journal.has_ended(folder.journal) and _is_written(folder):
        return Look(folder)
    if not is_alive(folder):
        where = f" here, and was last trained on {host}, which has written nothing for a while" if host else ""
        raise RunError(f"{folder.path} is not running{where}; view it with `tuitrain replay {folder.path}`, "
                       f"continue with `tuitrain resume {folder.path}`")
    return Look(folder)


def _is_written(folder: RunDirectory) -> bool:
    """Return whether the journal is growing: the only sign here of a process on another machine."""
    with contextlib.suppress(OSError):
        return abs(time.time() - folder.journal.stat().st_mtime) < RECENTLY
    return False


def _lines(folder: RunDirectory, json: bool) -> int:
    from tuitrain.headless import PlainOutput
    from tuitrain.recording.sessions import Look

    session = _session(folder, "terminal")
    if isinstance(session, Look):
        where = f" of a process on {safe(session.elsewhere)}" if session.elsewhere else ""
        print(f"tuitrain: a read-only view of the journal{where}: commands cannot be sent", file=sys.stderr)
    lines = PlainOutput(sys.stdout, str(folder.path), json=json)
    lines.state = session.state
    lines.header()
    seen = session.resynchronised
    try:
        while lines.ended is None and not session.closed:
            events = session.drain_timed(0.5)
            if session.resynchronised != seen:
                seen, lines.state = session.resynchronised, session.state
            for event, when in events:
                lines.show(event, when)
    except KeyboardInterrupt:
        print("tuitrain: left; training goes on", file=sys.stderr)
        return 0
    finally:
        session.close()
        lines.close()
    if lines.ended is None and lines.state.status == "ended":
        return 0  # it ended while the state was being resynchronised
    if lines.ended is None:
        raise RunError(f"the process that trained {folder.path} is gone; continue with `tuitrain resume {folder.path}`")
    return lines.ended.exit_code


def newest_alive(parent: Path) -> RunDirectory:
    """Return the newest run under a folder that is being trained now. Raises RunError if there is none."""
    alive = [r for r in find_runs(parent) if is_alive(r)]
    if not alive:
        raise RunError(f"no run under {parent}/ is running; `tuitrain runs` lists them")
    return alive[-1]
