"""Draw text from a checkpoint; needs no torch. Standard output gets the text alone, into a pipe or a file as the model
drew it but for what a terminal would obey; on a terminal whatever has no sign of its own is shown as one.

example: tuitrain sample runs/copperfield-1 --prompt "It was a" --temperature 0.7 --length 500
"""

import argparse
import sys

from tuitrain.cli.options import of_ours, run_folder
from tuitrain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to draw from and how."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="draw from this checkpoint (default: newest)")
    parser.add_argument("--prompt", metavar="TEXT", help="what the text starts from (default: a new line)")
    parser.add_argument("--temperature", type=float, default=0.75, metavar="X", help="divisor of the logits")
    parser.add_argument("--length", type=int, default=500, metavar="N", help="characters to draw")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw")


def run(arguments: argparse.Namespace) -> int:
    """Print the prompt and what the model makes of it."""
    if not 0.01 <= arguments.temperature <= 10:
        raise UsageError(f"--temperature {arguments.temperature:g}: give a number from 0.01 to 10")
    if arguments.length < 1:
        raise UsageError(f"--length {arguments.length}: give a number of 1 or more")
    folder = run_folder(arguments.run)
    kept = of_ours(folder)

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
        print(safe(f"tuitrain: {message}; {mark.name} is used"), file=sys.stderr)
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    config = Config.of_run(kept["config"])
    model = NumpyRNN(weights, config.cell, config.layers)
    ids, unknown = corpus.encode("\n" if arguments.prompt is None else arguments.prompt, kept["vocabulary"])
    if unknown and arguments.prompt is not None:
        print(f"tuitrain: the prompt's characters {unknown!r} are not in the text and are left out", file=sys.stderr)
    stream = Stream(model, ids, arguments.length, arguments.temperature, np.random.default_rng(arguments.seed))
    terminal = sys.stdout.isatty()
    print(plain_output(corpus.decode(ids, kept["vocabulary"]), terminal=terminal), end="")
    while not stream.done:
        drawn, _ = stream.advance(64)
        text = corpus.decode(np.array(drawn, dtype=np.uint32), kept["vocabulary"])
        print(plain_output(text, terminal=terminal), end="", flush=True)
    print()
    return 0
