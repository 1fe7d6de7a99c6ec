"""Watch and steer a run that is alive; leaving it does not stop it.

example: tuitrain attach runs/copperfield-1
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.cli import screen
from tuitrain.cli.options import run_folder
from tuitrain.errors import RunError
from tuitrain.run.directory import RunDirectory, find_runs, is_alive

if TYPE_CHECKING:
    from tuitrain.protocol.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and how to show it."""
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run folder; without it the newest that is alive")
    screen.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the journal's lines on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Show the run until it ends or the person leaves."""
    from tuitrain.host.client import SocketSession

    folder = run_folder(arguments.run) if arguments.run else newest_alive(Path("runs"))
    if arguments.no_ui or arguments.json or not screen.has_screen():
        return _lines(folder, arguments.json)
    # What hinders it is said before the screen opens.
    session = SocketSession(folder, watch=True, by="you") if folder.socket.exists() else _look(folder)
    return screen.show(folder, lambda: session, mouse=arguments.mouse)


def _look(folder: RunDirectory) -> "Session":
    """A read-only look, through the journal, at a run whose file system has no sockets. Raises RunError."""
    from tuitrain.host.recording import Look

    folder.read_config()
    if not is_alive(folder):
        raise RunError(f"{folder.path} is not running; look at it with `tuitrain replay {folder.path}`, "
                       f"go on with `tuitrain resume {folder.path}`")
    return Look(folder)


def _lines(folder: RunDirectory, json: bool) -> int:
    from tuitrain.headless import Lines
    from tuitrain.host.client import SocketSession

    session = SocketSession(folder, watch=True, by="terminal")
    lines = Lines(sys.stdout, str(folder.path), json=json)
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
        return 0  # it ended while this end was being brought up to date
    if lines.ended is None:
        raise RunError(f"the process that trained {folder.path} is gone; go on with `tuitrain resume {folder.path}`")
    return lines.ended.exit_code


def newest_alive(parent: Path) -> RunDirectory:
    """The newest run under a folder that a process trains now. Raises RunError if there is none."""
    alive = [r for r in find_runs(parent) if is_alive(r)]
    if not alive:
        raise RunError(f"no run under {parent}/ is alive; `tuitrain runs` lists them")
    return alive[-1]
