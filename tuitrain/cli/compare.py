"""Runs side by side: final numbers, curves, differences in configuration, samples.

A folder stands for the runs in it. In the cockpit space marks runs, s sorts, / filters. --where and --sort take step,
train, val, best, norm, clipped, lr, clip, bad, branches, time, name, state, and every setting.

example: tuitrain compare runs/ --where 'val<2.2' --where hidden=256 --sort val
"""

import argparse
import sys

from tuitrain.cli import screen
from tuitrain.comparing.records import AXES
from tuitrain.errors import ERROR, FINISHED, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, which of them, in which order, over what."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, or folders that hold runs")
    parser.add_argument("--by", choices=tuple(AXES), default="step", metavar="AXIS",
                        help="draw curves over step (the default), characters or time")
    parser.add_argument("--where", action="append", default=[], metavar="TEST",
                        help="only runs of which this holds: val<2, optimizer=adam, name~harbour; may be repeated")
    parser.add_argument("--sort", metavar="KEY", help="by a number or setting, -KEY the largest first")
    screen.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show or print the comparison; exit code 1 if no run could be read. Raises UsageError."""
    if not arguments.no_ui and screen.has_screen():
        return _show(arguments)
    from rich.console import Console

    from tuitrain.comparing import choosing, report
    from tuitrain.comparing.records import Record, found, read

    seen = [read(folder, clock=arguments.by == "time") for folder in found(arguments.runs)]
    records = [each for each in seen if isinstance(each, Record)]
    bad = [each for each in seen if not isinstance(each, Record)]
    if not records:
        for each in bad:
            print(f"tuitrain: {each.name}: {each.why}", file=sys.stderr)
        return ERROR
    if arguments.sort:
        records = choosing.ordered(records, arguments.sort)
    tests = [choosing.condition(text, records) for text in arguments.where]
    chosen = [record for record in records if all(holds(record) for holds in tests)]
    if not chosen:
        raise UsageError(f"none of {len(records)} runs is such that {' and '.join(arguments.where)}")
    console = Console(file=sys.stdout, soft_wrap=False)
    report.print_page(console, report.page(chosen, bad, arguments.by, console.width, screen.draws_braille(),
                                           console.is_terminal and not console.no_color))
    return FINISHED


def _show(arguments: argparse.Namespace) -> int:
    from tuitrain.comparing.records import found
    from tuitrain.ui.compare.app import CompareApp

    app = CompareApp(list(found(arguments.runs)), by=arguments.by, where=arguments.where, sort=arguments.sort or "",
                     braille=screen.draws_braille())
    app.run(mouse=arguments.mouse)
    return int(app.return_code or FINISHED)
