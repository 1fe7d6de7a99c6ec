"""Compare tuitrain with a stock PyTorch loop on this machine, in characters per second, alternating in one run.

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
    """Add the models, the cells and the time."""
    parser.add_argument("--models", default="2x128,2x256,3x512", metavar="LxH,...", help="layers x hidden units")
    parser.add_argument("--cells", default="a,a',b,b',c,d", metavar="A,B,...", help="the programs to measure")
    parser.add_argument("--seconds", type=float, metavar="S", help="seconds per cell (default 15), or per window")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds, each in another order")
    parser.add_argument("--instruments", action="store_true", help="instead: the cost of each instrument, one per row")
    parser.add_argument("--durability", action="store_true",
                        help="instead: the cost of journal and checkpoints by default")
    parser.add_argument("--watch", action="store_true",
                        help="instead: the cost of tuitrain.watch to small loops")
    parser.add_argument("--first-minute", action="store_true",
                        help="instead: windows of 12 s of the default run from its first step on, "
                             "beside cell a or (`--cells a'`) a'")
    parser.add_argument("--precision", choices=("auto", "fp32"), default="auto",
                        help="number format of tuitrain (and of a') in the first minute; the stock loop uses fp32")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the order")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table; returns the exit code. Raises UsageError."""
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.bench import CELLS, Shape, bench

    try:
        shapes = [Shape(*map(int, name.split("x"))) for name in arguments.models.split(",")]
    except (ValueError, TypeError):
        raise UsageError(f"--models {arguments.models}: write layers x hidden, such as 2x128,3x512") from None
    seconds = arguments.seconds if arguments.seconds is not None else 12.0 if arguments.first_minute else 15.0
    if seconds <= 0 or arguments.rounds < 1:
        raise UsageError("--seconds must be above 0 and --rounds at least 1")
    if arguments.watch:
        return _watch(arguments.rounds, arguments.seconds or 1.0)
    if arguments.first_minute:
        return _first_minute(shapes, seconds, arguments.precision, ["--ours"] if arguments.cells == "a'" else [])
    if arguments.instruments:
        return _instruments(shapes, arguments.rounds)
    if arguments.durability:
        return _durability(shapes, arguments.rounds)
    cells = arguments.cells.split(",")
    if unknown := [cell for cell in cells if cell not in CELLS]:
        raise UsageError(f"--cells: no such cell: {unknown[0]}; choose from {','.join(CELLS)}")
    results = bench(shipped_corpus(), shapes, cells=cells, seconds=seconds, rounds=arguments.rounds,
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
        print(f"geometric mean of b/a: {_geometric([r.ratio('b', 'a') for r in results]):.3f}")
    return 0


def _first_minute(shapes: "list[Shape]", seconds: float, precision: str, stock: list[str]) -> int:
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.first_minute import first_minute

    windows = max(1, round(60 / seconds))
    of = f"--precision={precision}"
    made = [first_minute(shipped_corpus(), shape, seconds=seconds, windows=windows, options=[of], stock=[*stock, of],
                         say=lambda line: print(line, file=sys.stderr)) for shape in shapes]
    print(f"steps/s of the default run over a stock loop's, in {windows} windows of {seconds:g} s from its first step\n"
          f"{'model':<7}{'ours':>8}{'stock':>8}{'':2}" + "".join(f"{f'{i * seconds:.0f} s':>7}" for i in range(windows))
          + f"{'mean':>8}  first sample")
    means = []
    for minute in made:
        ratios = [window.ratio for window in minute.windows]
        means.append(_geometric(ratios))
        after = "none yet" if minute.sample_after is None else f"{minute.sample_after:.0f} s"
        print(f"{minute.shape.name:<7}{_geometric([w.ours for w in minute.windows]):>8.2f}"
              f"{_geometric([w.stock for w in minute.windows]):>8.2f}  " + "".join(f"{r:>7.3f}" for r in ratios)
              + f"{means[-1]:>8.3f}  {after}")
    print(f"geometric mean: {_geometric(means):.3f}")
    return 0


def _geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _instruments(shapes: "list[Shape]", rounds: int) -> int:
    from functools import partial

    from tuitrain.charlstm import runtime
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.instruments import costs

    for shape in shapes:
        found = runtime.aside(partial(costs, shipped_corpus(), shape, 20 * rounds))
        print(f"{shape.name}: a step of {shape.batch_size}x{shape.bptt} takes {1000 * found.pop('step'):.1f} ms")
        tables = found.pop("sample tables")
        for name, share in found.items():
            print(f"  {name:<48}{share:>8.2%} of a step")
        print(f"  {'together':<48}{sum(found.values()):>8.2%}; sample tables once {tables:.2f} s")
    return 0


def _watch(rounds: int, seconds: float) -> int:
    from tuitrain.experiments.watched import MODELS, measure

    print("a step watched over the same step bare, median and quartiles of pairs of windows: by the clock, and of the\n"
          "processor in all threads of the process, which other programs disturb less")
    print(f"{'loop':<34}{'parameters':>10}{'step':>10}{'clock':>9}{'quartiles':>15}{'processor':>11}{'quartiles':>15}")
    for model in MODELS:
        for clips in (True, False):
            cost = measure(model, clips=clips, pairs=8 * rounds, seconds=seconds)
            row = f"{model}{', pilot.clip_grad_norm_' if clips else ', no clip'}"
            shown = f"{row:<34}{cost.parameters:>10,}{1000 * cost.step.wall:>7.1f} ms"
            for of, width in (("wall", 9), ("cpu", 11)):
                low, middle, high = cost.ratio(of)
                shown += f"{middle:>{width}.3f}{f'{low:.3f}–{high:.3f}':>15}"
            print(shown)
    return 0


def _durability(shapes: "list[Shape]", rounds: int) -> int:
    from functools import partial

    from tuitrain.charlstm import runtime
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.durability import durability

    for shape in shapes:
        found = runtime.aside(partial(durability, shipped_corpus(), shape, 20 * rounds))
        print(f"{shape.name}: a step of {shape.batch_size}x{shape.bptt} takes {1000 * found.pop('step'):.1f} ms")
        for name, share in found.items():
            print(f"  {name:<48}{share:>8.3%} of training time")
        print(f"  {'durability, together':<48}{sum(found.values()):>8.3%}")
    return 0
