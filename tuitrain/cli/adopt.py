"""Make a run out of a checkpoint of TFLearn, PyTorch or others, and train on in it.

example: tuitrain adopt checkpoints/model-1562 --corpus copperfield.txt --lr 0.001 --clip auto
"""

import argparse
import sys
from pathlib import Path

from tuitrain.cli import options, resume, screen
from tuitrain.cli.signals import before_training
from tuitrain.errors import UsageError
from tuitrain.run.directory import RunDirectory, new_run
from tuitrain.telemetry.units import bpc, safe

OPTIONS = ("batch_size", "bptt", "loss", "stride", "dropout", "lr", "clip", "steps", "on_divergence")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, the text, and the options of the run that it becomes."""
    parser.usage = "%(prog)s CHECKPOINT --corpus TEXT [options]"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="one of its files, or what their names begin with")
    parser.add_argument("--corpus", metavar="TEXT", help="the text that it was trained on")
    parser.add_argument("--vocabulary", metavar="FILE", help="pickled dict or JSON of its characters (default: beside)")
    parser.add_argument("--run", metavar="DIR", help="the folder of the new run (default: a new one in runs/)")
    parser.add_argument("--only", action="store_true", help="make the run, print its folder, do not train")
    screen.add_arguments(parser)
    screen.add_host_arguments(parser)
    options.add(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Make the run, say what is exact, and go on with it as `resume` does; returns the exit code."""
    if arguments.json and not arguments.no_ui:
        raise UsageError("--json belongs to --no-ui; add --no-ui")
    given = {name: value for name, value in options.given(arguments).items() if name in OPTIONS}
    before_training()
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.autopsy import adoption

    text = Path(arguments.corpus) if arguments.corpus else None
    vocabulary = Path(arguments.vocabulary) if arguments.vocabulary else None
    if arguments.run and RunDirectory(Path(arguments.run)).config.exists():
        RunDirectory(Path(arguments.run)).create()  # raises: it is a run already
    candidate = runtime.aside(lambda: adoption.consider(Path(arguments.checkpoint), text, given, vocabulary))
    folder = RunDirectory(Path(arguments.run)) if arguments.run else new_run(Path("runs"), candidate.entry.name)
    told = runtime.aside(lambda: adoption.adopt(candidate, folder, _say))
    each = candidate.examined
    loss = "" if each.loss is None else f", validation {bpc(each.loss):.3f} bits per character"
    _say(f"{each.name} is now the run {folder.path}, at step {each.step:,}{loss}")
    for words in (*told, candidate.broken):
        if words:
            _say(words)
    if arguments.only:
        print(folder.path)
        return 0
    return resume.run(argparse.Namespace(run=str(folder.path), json=arguments.json, no_ui=arguments.no_ui,
                                         mouse=arguments.mouse, host=arguments.host, detach=False, checkpoint=None,
                                         corpus=None, minutes=None))


def _say(words: str) -> None:
    print(safe(f"tuitrain: {words}"), file=sys.stderr, flush=True)
