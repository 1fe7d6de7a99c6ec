"""Old checkpoints, whoever wrote them (tuitrain, PyTorch, TFLearn): where training broke, why, and how to go on.

example: tuitrain autopsy checkpoints/ --corpus copperfield.txt --no-ui
"""

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.cli import screen
from tuitrain.errors import FINISHED, UsageError
from tuitrain.telemetry.units import safe

if TYPE_CHECKING:
    from tuitrain.autopsy.cockpit.app import Perform
    from tuitrain.autopsy.inquest import Autopsy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at, and how."""
    parser.add_argument("run", metavar="FOLDER", help="a folder of checkpoints, or a run")
    parser.add_argument("--corpus", metavar="TEXT", help="the text that it was trained on (a run of ours has its own)")
    parser.add_argument("--vocabulary", metavar="FILE", help="pickled dict or JSON of its characters (default: beside)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="examine every Nth checkpoint, and the last")
    parser.add_argument("--bptt", type=int, metavar="N", help="characters of a window it was trained on")
    parser.add_argument("--loss", choices=("all", "last"), metavar="NAME", help="which of them counted: all, last")
    parser.add_argument("--json", action="store_true", help="one object on standard output, for scripts")
    parser.add_argument("--html", metavar="FILE", help="write a page with plots, too (needs matplotlib)")
    screen.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Examine, and print what was found."""
    for name in ("every", "bptt"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise UsageError(f"--{name} {getattr(arguments, name)}: give a number of 1 or more")
    path = Path(arguments.run)
    if arguments.html:
        from tuitrain.autopsy import page

        page.check(Path(arguments.html))
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.autopsy.inquest import perform

    examine = partial(perform, path, Path(arguments.corpus) if arguments.corpus else None, every=arguments.every,
                      vocabulary=Path(arguments.vocabulary) if arguments.vocabulary else None,
                      given={"bptt": arguments.bptt, "loss": arguments.loss})
    if arguments.json or arguments.no_ui or not screen.has_screen():
        with Progress() as progress:
            found = examine(report=progress.report)
    else:
        shown = _show(path, lambda report, take: examine(report=report, take=take), mouse=arguments.mouse)
        if shown is None:
            return FINISHED
        found = shown
    if arguments.html:
        page.write(Path(arguments.html), found)
    if arguments.json:
        print(json.dumps(found.to_json()))
        return FINISHED
    from tuitrain.autopsy import report

    if not arguments.no_ui and screen.has_screen():  # seen already; the command can be copied
        print(safe(report.headline(found)))
        if found.command:
            print(safe(f"go on: {found.command}"))
        return FINISHED
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    for line in report.lines(found, width, screen.draws_braille()):
        print(line)
    return FINISHED


def _show(path: Path, perform: "Perform", *, mouse: bool) -> "Autopsy | None":
    """Show the autopsy in a cockpit until the person leaves; returns it, None if it was not finished."""
    from tuitrain.autopsy.cockpit.app import AutopsyApp

    app = AutopsyApp(str(path), perform, braille=screen.draws_braille())
    app.run(mouse=mouse)
    if app.failure is not None:
        raise app.failure
    return app.exhibit.found


class Progress:
    """A bar on standard error, where that is a terminal; standard output is for what was found."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        self._bar = Bar(TextColumn("examining"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                        TextColumn("{task.description}"), console=console, transient=True,
                        disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, done: int, of: int, name: str) -> None:
        """Show how many are done, and the name of the next."""
        self._bar.update(self._task, completed=done, total=of, description=safe(name)[:40].replace("[", "("))
