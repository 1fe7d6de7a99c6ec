"""Drill: inject faults into a short healthy run, for you to spot and repair, or to measure analyst and guard.

With --no-ui the analyst's verdicts are counted; it knows nothing of the fault. Without, the cockpit opens on a run in
which a fault will occur: name it with m (a note with the cause) and act; you are scored against the guard.

example: tuitrain drill --all --no-ui --seeds 100-104
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.errors import UsageError, nearest
from tuitrain.telemetry.units import number

if TYPE_CHECKING:
    from tuitrain.experiments.drill import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the faults, the seeds and the text."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="faults by name (none: a hidden one)")
    parser.add_argument("--all", action="store_true", help="all faults, and healthy runs too")
    parser.add_argument("--list", action="store_true", help="describe all faults")
    parser.add_argument("--no-ui", action="store_true", help="measure the analyst instead of you")
    parser.add_argument("--json", action="store_true", help="with --no-ui: everything as JSON on standard output")
    parser.add_argument("--seeds", metavar="A-B", default="100-104", help="one drill for each seed (default 100-104)")
    parser.add_argument("--guard", metavar="NAME", default="warn", choices=("warn", "rollback"),
                        help="the guard's mode: warn, or rollback to measure what it saves")
    parser.add_argument("--corpus", metavar="FILE", help="a text file (default: the text of the package)")


def run(arguments: argparse.Namespace) -> int:
    """Run the drill; returns the exit code. Raises UsageError."""
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments import drill, faults

    if arguments.list:
        for fault in drill.gallery(()).values():
            print(f"{fault.name:<16} {fault.words} ({', '.join(fault.right) or 'nothing to find'})")
        return 0
    names = tuple(arguments.name)
    for name in names:
        if name not in drill.gallery(()):
            near = nearest(name, drill.gallery(()))
            raise UsageError(f"no such fault: {name}" + (f"; did you mean {near}?" if near else "; see --list"))
    if arguments.json and not arguments.no_ui:
        raise UsageError("--json belongs to --no-ui; add --no-ui")
    corpus = Path(arguments.corpus) if arguments.corpus else shipped_corpus()
    if not arguments.no_ui:
        from tuitrain.cli.sitting import sit

        return sit(names[0] if names else "", corpus, sorted(faults.FAULTS))
    if not names and not arguments.all:
        raise UsageError("name a fault, or pass --all for all of them")
    outcomes = []
    for fault in drill.gallery(names).values():
        for seed in _seeds(arguments.seeds):
            outcome = runtime.aside(partial(drill.run, fault, corpus, seed, guard=arguments.guard))
            outcomes.append(outcome)
            print(_line(outcome), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    counts = drill.summary(outcomes)
    if arguments.json:
        print(json.dumps(counts))
        return 0
    print(_table(counts))
    return 0


def _seeds(text: str) -> range:
    low, _, high = text.partition("-")
    if not low.isdigit() or (high and not high.isdigit()):
        raise UsageError(f"--seeds {text}: give a number or a range such as 100-104")
    return range(int(low), int(high or low) + 1)


def _line(x: "Outcome") -> str:
    delay = "" if x.delay is None else f"after {x.delay} steps"
    vals = "" if x.val_before is None or x.val_after is None else f"val {x.val_before:.3f} → {x.val_after:.3f}"
    return (f"{'hit ' if x.hit else 'MISS'}  {x.fault:<16} seed {x.seed:<4} {x.cause or 'nothing found':<19} "
            f"{delay:<16}{vals}" + (f", {x.rollbacks} rollbacks" if x.rollbacks else ""))


def _table(counts: dict[str, object]) -> str:
    matrix = counts["matrix"]
    assert isinstance(matrix, dict)
    causes = sorted({cause for row in matrix.values() for cause in row})
    rows = ["", " " * 17 + "  ".join(f"{c[:12]:>12}" for c in causes)]
    rows += [f"{fault:<17}" + "  ".join(f"{row.get(c, ''):>12}" for c in causes) for fault, row in matrix.items()]
    delay = counts["delay"]
    words = "" if delay is None else f"; median delay of the lr faults {number(float(str(delay)))} steps"
    rows.append(f"right cause {counts['hits']} of {counts['of']}; false alarms or verdicts {counts['false']}, in "
                f"{counts['healthy']} healthy runs and before the faults{words}")
    return "\n".join(rows)
