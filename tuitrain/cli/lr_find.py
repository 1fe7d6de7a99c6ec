"""Find a learning rate for a text: a range test on a scratch model, the curve, a suggestion and its reason.

example: tuitrain lr-find copperfield.txt --hidden 256
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tuitrain.cli import options, streams
from tuitrain.errors import FINISHED, UsageError
from tuitrain.telemetry.units import BITS, loss_words, number

if TYPE_CHECKING:
    from tuitrain.futures.reading import Reading

MODEL = ("layers", "hidden", "batch_size", "bptt", "optimizer", "precision", "threads")
ROWS = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the text, the model and the length of the test."""
    parser.usage = "%(prog)s TEXT [options]"
    add_finder(parser, ("clip",), 400)


def add_finder(parser: argparse.ArgumentParser, also: tuple[str, ...], length: int) -> None:
    """Add what both finders take; `also` are further options of training, `length` is the default number of steps."""
    parser.add_argument("corpus", metavar="TEXT", help="the text file")
    parser.add_argument("--length", type=int, default=length, metavar="N", help=f"steps (default {length})")
    parser.add_argument("--json", action="store_true", help="everything as JSON on standard output")
    options.add(parser, (*MODEL, *also))


def run(arguments: argparse.Namespace) -> int:
    """Test and print the curve. Raises UsageError, CorpusError."""
    asked = given(arguments, 50)
    from tuitrain.futures import finding

    found = finding.range_test(asked, arguments.length, report, progress(arguments.length))
    end()
    if arguments.json:
        from tuitrain.protocol.codec import plain

        print(json.dumps(plain({"rates": found.rates.tolist(), "losses": found.losses.tolist(), "lowest": found.lowest,
                                "breaks": found.breaks, "suggested": found.suggested, "presets": found.presets,
                                "sentence": found.sentence})))
        return FINISHED
    most = float(min(found.losses.min() * 1.6, found.losses.max())) if len(found.losses) else 0.0
    shown = found.losses <= most
    print(curve(found.rates[shown].tolist(), (found.losses[shown] * BITS.scale).tolist(), "learning rate",
                f"loss, {BITS.short}"))
    print(found.sentence)
    print("the presets take " + ", ".join(f"{number(rate)} ({name})" for name, rate in found.presets.items()))
    return FINISHED


def given(arguments: argparse.Namespace, least: int) -> dict[str, Any]:
    """Return the options of training that were given, before torch is loaded. Raises UsageError."""
    if arguments.length < least:
        raise UsageError(f"--length {arguments.length}: give {least} steps or more")
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    return options.given(arguments)


def report(words: str) -> None:
    """Say what is being done."""
    print(f"tuitrain: {words} …", file=sys.stderr, flush=True)


def progress(steps: int) -> "Callable[[Reading], None]":
    """What shows on a terminal how far a scratch run is."""
    def told(reading: "Reading") -> None:
        if reading.done and sys.stderr.isatty():
            print(f"\r\x1b[Kstep {reading.done:,} of {steps:,}  loss {loss_words(reading.losses[-1], BITS)}", end="",
                  file=streams.steering(sys.stderr), flush=True)

    return told


def end() -> None:
    """Remove the line of progress."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=streams.steering(sys.stderr), flush=True)


def curve(xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str, marks: Sequence[float] = ()) -> str:
    """A plot of numbers over a logarithmic axis, as wide as the terminal, without colours."""
    import plotext

    plotext.clear_figure()
    plotext.plotsize(min(100, shutil.get_terminal_size().columns - 2), ROWS)
    plotext.theme("clear")
    logs = [math.log10(x) for x in xs]
    braille = (getattr(sys.stdout, "encoding", "") or "").lower().startswith("utf")
    plotext.plot(logs, list(ys), marker="braille" if braille else "*")
    for mark in marks:
        plotext.vline(math.log10(mark))
    if logs:
        ticks = [float(tick) for tick in range(math.ceil(min(logs)), math.floor(max(logs)) + 1)] or [logs[0]]
        plotext.xticks(ticks, [f"{10.0**tick:g}" for tick in ticks])
    plotext.xlabel(x_name)
    plotext.ylabel(y_name)
    return "\n".join(line.rstrip() for line in str(plotext.uncolorize(plotext.build())).splitlines() if line.strip())
