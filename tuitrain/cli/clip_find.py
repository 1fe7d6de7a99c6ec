"""Find a clip for a text: the norms of a short run, what a spike of so many medians does, the advice and its range.

example: tuitrain clip-find copperfield.txt --hidden 256
"""

import argparse
import json

from tuitrain.cli import lr_find
from tuitrain.errors import FINISHED
from tuitrain.telemetry.units import number

USUAL = 5.0
"""The clip that recipes name most often."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the text, the model and the length of the run."""
    parser.usage = "%(prog)s TEXT [options]"
    lr_find.add_finder(parser, ("lr",), 400)


def run(arguments: argparse.Namespace) -> int:
    """Train for a short time and print the advice. Raises UsageError, CorpusError."""
    asked = lr_find.given(arguments, 200)
    from tuitrain.futures import finding

    found = finding.find_clip(asked, arguments.length, lr_find.report, lr_find.progress(
        arguments.length + finding.YOUNG))
    lr_find.end()
    advice = found.advice
    clips = dict.fromkeys([*found.presets.values(), USUAL])
    if arguments.json:
        print(json.dumps({"clip": advice.value, "low": advice.low, "high": advice.high, "median": advice.median,
                          "p99": found.p99, "kicks": {f"{k:g}": v for k, v in found.kicks.items()},
                          "presets": found.presets, "norms": found.norms.tolist()}))
        return FINISHED
    if found.kicks:
        print(lr_find.curve(list(found.kicks), list(found.kicks.values()), "a spike, in medians of the norm",
                            "steps of the usual size", [advice.value / advice.median]))
    print(f"norms of {len(found.norms):,} steps after the first {finding.YOUNG}: median {number(advice.median)}, 99 % "
          f"below {number(found.p99)}, largest {number(float(found.norms.max()))}")
    kick = ": the largest that keeps a spike's kick at half a step" if found.kicks else ""
    print(f"suggested: --clip {advice.value:g} ({number(advice.value / advice.median, 2)} medians){kick}; useful from "
          f"{number(advice.low)} to {number(advice.high)}; --clip auto follows it as the norms change")
    for clip in clips:
        names = ", ".join(name for name, value in found.presets.items() if value == clip)
        print(found.judged(clip) + (f" (preset {names})" if names else ""))
    return FINISHED
