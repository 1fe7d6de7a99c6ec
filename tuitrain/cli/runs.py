"""A table of runs: state, step, last and best validation bpc, branches, size, age.

example: tuitrain runs
"""

import argparse
import sys
import time
from pathlib import Path

from tuitrain.run.directory import RunDirectory, find_runs, is_alive

HEAD = ("run", "state", "step", "last", "best", "branches", "size", "age")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder to look in."""
    parser.add_argument("dir", metavar="DIR", nargs="?", default="runs", help="the folder that holds the runs")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; an unreadable run is a row that says so."""
    from tuitrain.errors import RunError
    from tuitrain.telemetry.units import safe

    found = find_runs(Path(arguments.dir))
    if not found:
        print(f"tuitrain: there are no runs under {arguments.dir}/", file=sys.stderr)
        return 0
    rows: list[tuple[str, ...]] = [HEAD]
    for folder in found:
        try:
            folder.read_config()
            rows.append((safe(str(folder.path)), *_facts(folder)))
        except (RunError, OSError) as error:
            rows.append((safe(str(folder.path)), "unreadable", safe(str(error)), "", "", "", "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w)
                 for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())
    return 0


def _facts(folder: RunDirectory) -> tuple[str, ...]:
    from tuitrain.protocol import events as e
    from tuitrain.run import journal
    from tuitrain.telemetry.units import duration, size

    trouble = journal.Trouble()
    step, last, best, branches, state = 0, float("nan"), float("inf"), 1, "crashed"
    kinds = (e.StepsDone, e.Evaluated, e.RolledBack, e.RunResumed, e.RunEnded, e.RunStarted)
    for event, _ in journal.read(folder.journal, trouble, kinds):
        match event:
            case e.StepsDone():
                step = event.first_step + len(event.loss) - 1
            case e.Evaluated():
                last, best = event.bpc, min(best, event.bpc)
            case e.RolledBack() | e.RunResumed():
                branches = max(branches, event.branch + 1)
                step, state = getattr(event, "to_step", getattr(event, "step", 0)), "crashed"
            case e.RunEnded():
                state = event.reason
    state = "alive" if is_alive(folder) else state
    if trouble.damaged:
        state += f" ({trouble.damaged} damaged lines)"
    total = sum(p.stat().st_size for p in folder.path.rglob("*") if p.is_file())
    age = duration(time.time() - folder.config.stat().st_mtime)
    return (state, f"{step:,}", f"{last:.3f}" if last == last else "-", f"{best:.3f}" if best < 1e9 else "-",
            str(branches), size(total), age)
