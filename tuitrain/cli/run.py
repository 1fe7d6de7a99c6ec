"""Start a script that calls tuitrain.watch, and open the cockpit on it.

example: tuitrain run train.py --epochs 3
"""

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.cli import screen
from tuitrain.errors import UsageError
from tuitrain.protocol import askers
from tuitrain.run.directory import RunDirectory, new_run

if TYPE_CHECKING:
    from tuitrain.telemetry.session import Session

VARIABLE = "TUITRAIN_RUN"
"""Environment variable with the run folder for a script that names none itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the script, its arguments and how to show it."""
    parser.usage = "%(prog)s [--run DIR] [--no-ui] SCRIPT [ARGUMENTS]"
    parser.add_argument("--run", metavar="DIR", help="the run folder (default runs/<script>-<n>)")
    screen.add_arguments(parser)
    parser.add_argument("script", metavar="SCRIPT", help="a Python file")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER, help="arguments of the script")


def run(arguments: argparse.Namespace) -> int:
    """Run the script and show its cockpit where there is a terminal; returns the exit code."""
    script = Path(arguments.script)
    if not script.is_file():
        raise UsageError(f"{script}: no such script")
    command = [sys.executable, str(script), *arguments.arguments]
    folder = RunDirectory(Path(arguments.run)) if arguments.run else new_run(Path("runs"), script.stem)
    environment = {**os.environ, VARIABLE: str(folder.path)}
    try:
        if arguments.no_ui or not screen.has_screen():
            return subprocess.run(command, env=environment, check=False).returncode
        return screen.show(folder, lambda: _join(command, environment, folder), mouse=arguments.mouse)
    finally:
        with contextlib.suppress(OSError):  # succeeds only if no run was started, so that they are empty
            folder.path.rmdir()
            folder.path.parent.rmdir()


def _join(command: list[str], environment: dict[str, str], folder: RunDirectory) -> "Session":
    """Start the script and return a session with it once it has called tuitrain.watch."""
    from tuitrain.host.client import SocketSession
    from tuitrain.host.launch import launch_command

    launch_command(command, folder, environment=environment, patience=float("inf"))
    return SocketSession(folder, watch=True, by=askers.PERSON)
