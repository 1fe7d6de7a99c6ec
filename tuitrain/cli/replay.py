"""Watch a recorded run again: the same cockpit, fed from the journal. Loads no torch.

In the cockpit space stops the tape, - and + are its speed, comma and full stop wind it, [ and ] go to the event before
and the next, g to a step.

example: tuitrain replay runs/copperfield-1 --step 25000
"""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tuitrain.cli import screen
from tuitrain.cli.options import run_folder
from tuitrain.errors import UsageError
from tuitrain.run.directory import RunDirectory

if TYPE_CHECKING:
    from tuitrain.recording.sessions import Replay

NEAR = 8
"""Log lines that are shown with a step."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, how fast, and where to begin."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--speed", type=float, metavar="X", help="times as fast as it was; else it takes a minute")
    parser.add_argument("--step", type=int, metavar="N",
                        help="begin where the run was at this step for the last time; with --no-ui: show only that")
    parser.add_argument("--events", action="store_true", help="list what happened, with steps; play nothing")
    screen.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Play until the person leaves."""
    from tuitrain.recording.sessions import Replay

    folder = run_folder(arguments.run)
    folder.read_config()
    if arguments.speed is not None and not 0 < arguments.speed < float("inf"):
        raise UsageError(f"--speed {arguments.speed:g}: a number above 0")
    plain = arguments.no_ui or not screen.has_screen()
    if plain and arguments.step is None and not arguments.events:
        return _lines(folder)
    replay = Replay(folder, arguments.speed)
    if arguments.events:
        return _events(folder, replay)
    if not plain:
        replay.index()
    if arguments.step is not None and not replay.to_step(arguments.step):
        raise UsageError(f"--step {arguments.step}: the run was never there; `--events` lists what happened, and when")
    if plain:
        return _page(folder, replay)
    sitting = screen.Screen(folder, lambda: replay, mouse=arguments.mouse, greets=False, at_once=True)
    sitting.run()
    return sitting.exit_code


def _page(folder: RunDirectory, replay: "Replay") -> int:
    """Print the state at a step: the header, the numbers, the last lines of the log."""
    from tuitrain.headless import PlainOutput
    from tuitrain.telemetry.units import safe

    lines = PlainOutput(sys.stdout, str(folder.path))
    lines.state = replay.state
    lines.header()
    lines.numbers()
    for entry in list(replay.state.story.entries)[-NEAR:]:
        at = time.strftime("%H:%M:%S", time.localtime(entry.time))
        print(safe(f"{at}  step {entry.step:,}  {entry.by}: {entry.words}"))
    lines.close()
    return 0


def _events(folder: RunDirectory, replay: "Replay") -> int:
    """Print a line for each notable event: its time, its step, who did what."""
    from tuitrain.protocol import events as e
    from tuitrain.run import journal
    from tuitrain.telemetry.sentences import headline
    from tuitrain.telemetry.units import safe

    replay.guide.survey.read_on(folder.journal)
    step = 0
    for place in replay.guide.survey.events:
        event, when = next(journal.read(folder.journal, start=place.offset))
        step = e.step_of(event, step)
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
        words = headline(event, replay.state.unit, "") or type(event).__name__
        print(safe(f"{at}  step {step:,}  {e.by_of(event) or 'engine'}: {words}"))
    return 0


def _lines(folder: RunDirectory) -> int:
    from tuitrain.headless import PlainOutput
    from tuitrain.run import journal

    lines = PlainOutput(sys.stdout, str(folder.path), period=0.0)
    for event, when in journal.read(folder.journal):
        lines.show(event, when)
    lines.close()
    return 0
