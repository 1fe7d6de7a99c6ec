"""Judge an intervention: a control is trained without it, on the same batches, and compared with what the run did.

The answer (helped, hurt, no difference seen) goes into the journal of a run that nobody trains.

example: tuitrain helped runs/copperfield-1 3000
"""

import argparse
import json
import sys

from tuitrain.cli.futures import add_talk, agreed, carry_out, say
from tuitrain.cli.options import character_run, run_folder
from tuitrain.errors import FINISHED, INTERRUPTED
from tuitrain.run.directory import is_alive
from tuitrain.telemetry.sentences import sentence
from tuitrain.telemetry.units import duration, safe, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the intervention."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("mark", metavar="STEP", nargs="?", type=int,
                        help="the intervention at this step, or the last before it (default: the newest)")
    parser.add_argument("--list", action="store_true", help="list the interventions that can be judged")
    parser.add_argument("--corpus", metavar="FILE", help="where the text is now, if the run has no copy of it")
    add_talk(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train the control and print the answer. Raises UsageError, RunError."""
    folder = run_folder(arguments.run)
    character_run(folder)

    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.diagnosis.arms import Arm
    from tuitrain.futures import helping, race
    from tuitrain.futures.race import Plan, Race, step_seconds
    from tuitrain.protocol.codec import encode

    history = helping.History.of(folder)
    if arguments.list:
        for mark in history.marks():
            print(safe(f"{mark.step:>9,}  branch {mark.branch}  {mark.words}"))
        return FINISHED
    asked = helping.question(folder, history, helping.find(history, arguments.mark))
    made = Plan(asked.point, (Arm(),), asked.length, step_seconds(asked.point))
    took = f", about {duration(made.seconds)}" if made.seconds else ""
    say(f"{asked.mark.words} at step {asked.mark.step:,}: a control of {made.steps:,} steps from step "
        f"{asked.point.step:,}{took}, {size(made.bytes)} on disk meanwhile")
    if not agreed(arguments.yes):
        return FINISHED
    contest = Race(made, arguments.corpus, name=f"without-{asked.mark.step}", turns=asked.turns)
    [control] = carry_out(contest)
    race.clear(contest.folder)
    if control.done <= asked.mark.origin[1] - asked.point.step:
        return INTERRUPTED
    event = helping.answer(history, asked, control)
    print(json.dumps(json.loads(encode(event))) if arguments.json else sentence(event))
    if is_alive(folder):
        print("tuitrain: the run is being trained, so its journal does not have this; ask again when it has ended",
              file=sys.stderr)
    else:
        helping.note(folder, event)
    return FINISHED
