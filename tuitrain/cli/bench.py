"""What this machine gives: a stock PyTorch loop beside tuitrain, in characters per second, alternated in one run.

example: tuitrain bench --models 2x128,2x256 --seconds 20 --rounds 3
"""

import argparse
import math
import sys
from typing import TYPE_CHECKING

from tuitrain.errors import UsageError

if TYPE_CHECKING:
    from tuitrain.experiments.bench import Shape

RATIOS = (("b", "a'"), ("b'", "a'"), ("b", "a"), ("c", "b'"), ("d", "b'"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, how long."""
    parser.add_argument("--models", default="2x128,2x256,3x512", metavar="LxH,...", help="layers x hidden units")
    parser.add_argument("--cells", default="a,a',b,b',c,d", metavar="A,B,...", help="which of these to measure")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="seconds per cell")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds, each in another order")
    parser.add_argument("--instruments", action="store_true", help="instead: what each instrument costs, a row each")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the order")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table."""
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.bench import CELLS, Shape, bench

    try:
        shapes = [Shape(*map(int, name.split("x"))) for name in arguments.models.split(",")]
    except (ValueError, TypeError):
        raise UsageError(f"--models {arguments.models}: write layers x hidden, such as 2x128,3x512") from None
    if arguments.seconds <= 0 or arguments.rounds < 1:
        raise UsageError("--seconds must be above 0 and --rounds at least 1")
    if arguments.instruments:
        return _instruments(shapes, arguments.rounds)
    cells = arguments.cells.split(",")
    if unknown := [cell for cell in cells if cell not in CELLS]:
        raise UsageError(f"--cells: there is no {unknown[0]}; choose from {','.join(CELLS)}")
    results = bench(shipped_corpus(), shapes, cells=cells, seconds=arguments.seconds, rounds=arguments.rounds,
                    seed=arguments.seed, say=lambda line: print(line, file=sys.stderr))
    print("characters/s: a stock loop, a' stock with our runtime, b tuitrain, b' with samples and evaluations,\n"
          "c the cockpit with the training in its process, d the cockpit with a host process")
    pairs = [(over, under) for over, under in RATIOS if over in cells and under in cells]
    print(f"{'model':<7}" + "".join(f"{cell:>9}" for cell in cells)
          + "".join(f"{over + '/' + under:>8}" for over, under in pairs) + "  spread")
    for r in results:
        print(f"{r.shape.name:<7}" + "".join(f"{r.speed[cell]:>9,.0f}" for cell in cells)
              + "".join(f"{r.ratio(*pair):>8.3f}" for pair in pairs) + f"{max(r.spread.values()):>8.0%}")
        if "d" in cells:
            print(f"        the cockpit of d: {r.bytes / 1000:.1f} kB/s to a terminal of 120x40, {r.cpu:.1%} of a core")
    if ("b", "a") in pairs:
        mean = math.exp(sum(math.log(r.ratio("b", "a")) for r in results) / len(results))
        print(f"geometric mean of b/a: {mean:.3f}")
    return 0


def _instruments(shapes: "list[Shape]", rounds: int) -> int:
    from functools import partial

    from tuitrain.cli.train import shipped_corpus
    from tuitrain.engine import runtime
    from tuitrain.experiments.instruments import costs

    for shape in shapes:
        found = runtime.aside(partial(costs, shipped_corpus(), shape, 20 * rounds))
        print(f"{shape.name}: a step of {shape.batch_size}x{shape.bptt} takes {1000 * found.pop('step'):.1f} ms")
        tables = found.pop("sample tables")
        for name, share in found.items():
            print(f"  {name:<48}{share:>8.2%} of a step")
        print(f"  {'together':<48}{sum(found.values()):>8.2%}; sample tables once {tables:.2f} s")
    return 0
