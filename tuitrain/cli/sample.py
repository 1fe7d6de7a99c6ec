"""Draw text from a checkpoint; needs no torch. Only the text goes to standard output. Control sequences that a terminal
would obey are removed; on a terminal, characters without a visible form are shown as a symbol.

example: tuitrain sample runs/copperfield-1 --prompt "It was a" --temperature 0.7 --length 500
"""

import argparse
import sys

from tuitrain.cli.options import character_run, run_folder
from tuitrain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint and how to draw from it."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="draw from this checkpoint (default: newest)")
    parser.add_argument("--prompt", metavar="TEXT", help="text to start from (default: a new line)")
    parser.add_argument("--temperature", type=float, default=0.75, metavar="X", help="divisor of the logits")
    parser.add_argument("--length", type=int, default=500, metavar="N", help="characters to draw")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw")


def run(arguments: argparse.Namespace) -> int:
    """Print the prompt and its continuation by the model. Raises UsageError, RunError."""
    if not 0.01 <= arguments.temperature <= 10:
        raise UsageError(f"--temperature {arguments.temperature:g}: give a number from 0.01 to 10")
    if arguments.length < 1:
        raise UsageError(f"--length {arguments.length}: give a number of 1 or more")
    folder = run_folder(arguments.run)
    kept = character_run(folder)

    from tuitrain.charlstm import runtime

    runtime.before_torch()
    import numpy as np

    from tuitrain.charlstm.config import Config
    from tuitrain.charlstm.looks.sampler import NumpyRNN, Stream
    from tuitrain.charlstm.text import corpus
    from tuitrain.run import checkpoints
    from tuitrain.telemetry.units import plain_output, safe

    mark, tensors, wrong = checkpoints.load_newest(folder.checkpoints, arguments.checkpoint,
                                                   run=str(kept.get("run", "")))
    for message in wrong:
        print(safe(f"tuitrain: {message}; using {mark.name}"), file=sys.stderr)
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    config = Config.of_run(kept["config"])
    model = NumpyRNN(weights, config.cell, config.layers)
    ids, unknown = corpus.encode("\n" if arguments.prompt is None else arguments.prompt, kept["vocabulary"])
    if unknown and arguments.prompt is not None:
        print(f"tuitrain: the prompt's characters {unknown!r} are left out: not in the text", file=sys.stderr)
    stream = Stream(model, ids, arguments.length, arguments.temperature, np.random.default_rng(arguments.seed))
    terminal = sys.stdout.isatty()
    print(plain_output(corpus.decode(ids, kept["vocabulary"]), terminal=terminal), end="")
    while not stream.done:
        drawn, _ = stream.advance(64)
        text = corpus.decode(np.array(drawn, dtype=np.uint32), kept["vocabulary"])
        print(plain_output(text, terminal=terminal), end="", flush=True)
    print()
    return 0
