"""Replay a run: the same cockpit, fed from the journal. Loads no torch.

example: tuitrain replay runs/copperfield-1 --speed 60
"""

import argparse
import sys

from tuitrain.cli import screen
from tuitrain.cli.options import run_folder
from tuitrain.errors import UsageError
from tuitrain.run.directory import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the speed and how to show it."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--speed", type=float, metavar="X", help="times the original speed (default: a minute in all)")
    screen.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Replay until the person leaves; returns the exit code."""
    from tuitrain.recording.sessions import Replay

    folder = run_folder(arguments.run)
    folder.read_config()
    if arguments.speed is not None and not 0 < arguments.speed < float("inf"):
        raise UsageError(f"--speed {arguments.speed:g}: a number above 0")
    if arguments.no_ui or not screen.has_screen():
        return _lines(folder)
    replay = Replay(folder, arguments.speed)
    sitting = screen.Screen(folder, lambda: replay, mouse=arguments.mouse, greets=False, at_once=True)
    sitting.run()
    return sitting.exit_code


def _lines(folder: RunDirectory) -> int:
    from tuitrain.headless import PlainOutput
    from tuitrain.run import journal

    lines = PlainOutput(sys.stdout, str(folder.path), period=0.0)
    for event, when in journal.read(folder.journal):
        lines.show(event, when)
    lines.close()
    return 0
