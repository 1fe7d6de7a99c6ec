"""The long form: `python -m tests.faults [NAME ...]` prints a table; exit code 1 if a run was harmed."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import Row
from tests.faults.table import FAULTS, make


def main() -> int:
    """Make the faults, one kind after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--times", type=int, help="how often, instead of as often as the long form")
    parser.add_argument("--folder", type=Path, help="where to train (default: a temporary folder)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="tuitrain-faults-"))
    harmed = False
    print("| fault | how | times | seconds lost, median / most | result | took |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    for name in given.names or FAULTS:
        began = time.monotonic()
        try:
            row = make(name, given.times or FAULTS[name][1], folder / name, given.seed)
        except (PermissionError, FileNotFoundError) as error:
            row = Row(name, "", remark=f"not possible here: {error}")
        harmed |= bool(row.wrong)
        print("|", " | ".join(row.cells()), f"| {time.monotonic() - began:.0f} s |", flush=True)
        for problem in row.wrong[1:20]:
            print(f"    {problem}", file=sys.stderr)
    return harmed


if __name__ == "__main__":
    raise SystemExit(main())
