"""Train a run again with every intervention at its step: are the losses the same, bit for bit?

Knobs, landings, rollbacks, undos and resumes come from the journal. The first number that differs is reported, with
exit code 1. Writes nothing into the run.

example: tuitrain reenact runs/copperfield-1
"""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tuitrain.cli import options, streams
from tuitrain.errors import ERROR, FINISHED, INTERRUPTED
from tuitrain.telemetry.units import duration, many, number

if TYPE_CHECKING:
    from tuitrain.charlstm.reenactment import Outcome

EVERY = 10.0
"""Seconds between lines about the progress where there is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and how much of it."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="only the first N steps that were trained")
    parser.add_argument("--corpus", metavar="FILE", help="where the text is now, if the run has no copy of it")


def run(arguments: argparse.Namespace) -> int:
    """Train and compare; exit code 1 at a difference."""
    folder = options.run_folder(arguments.run)
    options.character_run(folder)
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.charlstm.reenactment import reenact

    progress = Progress()
    try:
        outcome = reenact(folder, steps=max(0, arguments.steps), corpus_path=arguments.corpus, told=progress.told)
    except KeyboardInterrupt:
        progress.close()
        print(f"tuitrain: interrupted after {progress.steps:,} steps, without a difference up to there",
              file=sys.stderr)
        return INTERRUPTED
    finally:
        progress.close()
    for remark in outcome.remarks:
        print(f"note  {remark}")
    print(summary(outcome))
    return FINISHED if outcome.first is None else ERROR


def summary(outcome: "Outcome") -> str:
    """Return what was done, what was compared and what differed, as lines."""
    acts = ", ".join(f"{count} {kind}" for kind, count in outcome.acts.items())
    lines = [f"trained     {many(outcome.steps, 'step')} on {many(len(outcome.branches), 'branch', 'branches')}, "
             f"{many(outcome.acts.total(), 'intervention')}" + (f" ({acts})" if acts else ""),
             f"compared    {many(outcome.compared, 'loss or norm', 'losses and norms')}, "
             f"the weights of {many(outcome.weights, 'checkpoint')}"]
    first = outcome.first
    if first is None:
        return "\n".join([*lines, "differences 0"])
    there, here = (number(v, 9) if isinstance(v, float) else v for v in (first.there, first.here))
    return "\n".join([*lines, f"first difference: {first.what} of step {first.step:,} on branch {first.branch}: "
                              f"{there} in the journal, {here} here"])


class Progress:
    """How far it is, on standard error: a line that is written over on a terminal, elsewhere one now and then."""

    def __init__(self) -> None:
        self._out = streams.steering(sys.stderr)
        self._live = self._out.isatty()
        self._began = time.monotonic()
        self._next = self._began + (0.0 if self._live else EVERY)
        self._shown = False
        self.steps = 0

    def told(self, step: int, last: int) -> None:
        """Show `step` of `last`."""
        self.steps = step
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._live else EVERY)
        left = duration((now - self._began) / step * (last - step)) if step else "-"
        words = f"step {step:,} of {last:,}, {left} left"
        self._out.write(f"\r\x1b[2K{words}" if self._live else f"{words}\n")
        self._out.flush()
        self._shown = self._live

    def close(self) -> None:
        """Leave the terminal on a clean line."""
        if self._shown:
            self._out.write("\r\x1b[2K")
            self._out.flush()
            self._shown = False
