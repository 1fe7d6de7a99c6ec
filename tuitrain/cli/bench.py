"""What this machine gives: a stock PyTorch loop beside tuitrain, in characters per second, alternated in one run.

example: tuitrain bench --models 2x128,2x256 --seconds 20 --rounds 3
"""

import argparse
import math
import sys

from tuitrain.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, how long."""
    parser.add_argument("--models", default="2x128,2x256,3x512", metavar="LxH,...", help="layers x hidden units")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="seconds per cell")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds, each in another order")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the order")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table."""
    from tuitrain.cli.train import shipped_corpus
    from tuitrain.experiments.bench import Shape, bench

    try:
        shapes = [Shape(*map(int, name.split("x"))) for name in arguments.models.split(",")]
    except (ValueError, TypeError):
        raise UsageError(f"--models {arguments.models}: write layers x hidden, such as 2x128,3x512") from None
    if arguments.seconds <= 0 or arguments.rounds < 1:
        raise UsageError("--seconds must be above 0 and --rounds at least 1")
    results = bench(shipped_corpus(), shapes, seconds=arguments.seconds, rounds=arguments.rounds,
                    seed=arguments.seed, say=lambda line: print(line, file=sys.stderr))
    print("characters/s: a stock loop, a' stock with our runtime, b tuitrain, b' with samples and evaluations")
    print(f"{'model':<7}{'a':>10}{'a_':>10}{'b':>10}{'b_':>10}   b/a'   b'/a'   b/a   largest spread".replace("_", "'"))
    for r in results:
        s = r.speed
        print(f"{r.shape.name:<7}" + "".join(f"{s[c]:>10,.0f}" for c in ("a", "a'", "b", "b'"))
              + "".join(f"{r.ratio(*pair):>7.3f}" for pair in (("b", "a'"), ("b'", "a'"), ("b", "a")))
              + f"{max(r.spread.values()):>10.0%}")
    mean = math.exp(sum(math.log(r.ratio("b", "a")) for r in results) / len(results))
    print(f"geometric mean of b/a: {mean:.3f}")
    return 0
