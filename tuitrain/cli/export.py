"""Write a run in another format: csv, parquet, tensorboard, svg or html.

csv and parquet are tables with a row for each step of each branch; csv needs nothing else, the others what
`pip install 'tuitrain[export]'` brings.

example: tuitrain export runs/copperfield-1 --to csv
"""

import argparse
import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tuitrain.cli.options import run_folder
from tuitrain.errors import FINISHED, RunError, UsageError
from tuitrain.run.directory import RunDirectory

FORMATS = {"csv": ".csv", "parquet": ".parquet", "tensorboard": "-tensorboard", "svg": ".svg", "html": ".html"}
"""What each is called in the present folder if no name is given: that of the run, and this."""
NEEDS = {"parquet": "pyarrow", "tensorboard": "tensorboard", "svg": "matplotlib", "html": "matplotlib"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the format, the file."""
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", metavar="PATH",
                        help="where to (default <run>.csv and so on, here); - writes csv to standard output")


def run(arguments: argparse.Namespace) -> int:
    """Write it and print where it is. Raises UsageError, RunError."""
    folder = run_folder(arguments.run)
    folder.read_config()
    if arguments.out == "-" and arguments.to != "csv":
        raise UsageError(f"--out -: only csv goes to standard output; name a file for {arguments.to}")
    if arguments.to in NEEDS:
        try:
            importlib.import_module(NEEDS[arguments.to])
        except ImportError:
            raise UsageError(f"--to {arguments.to} needs {NEEDS[arguments.to]}: "
                             "`pip install 'tuitrain[export]'` brings it") from None
    if arguments.out == "-":
        from tuitrain.exporting import rows, to_csv

        to_csv.write(rows.sheet(folder), sys.stdout)
        return FINISHED
    out = Path(arguments.out or folder.path.resolve().name + FORMATS[arguments.to])
    with _new(out) as part:
        said = _write(folder, arguments.to, part)
    print(f"{out}  {said}")
    return FINISHED


def _write(folder: RunDirectory, to: str, path: Path) -> str:
    """Write the run to a path; returns what is in it."""
    from tuitrain.exporting import rows

    if to in ("svg", "html"):
        from tuitrain.exporting import to_html, to_svg
        from tuitrain.recording.past import Past

        state = Past(folder).state
        if not len(state.losses):
            raise RunError(f"{folder.path} has no steps to draw: its journal is missing or empty")
        name = folder.path.resolve().name
        path.write_text(to_svg.draw(state, name) if to == "svg" else to_html.page(state, name), encoding="utf-8")
        return f"{state.step:,} steps"
    sheet = rows.sheet(folder)
    if to == "csv":
        from tuitrain.exporting import to_csv

        with open(path, "w", encoding="utf-8", newline="") as out:
            count = to_csv.write(sheet, out)
    elif to == "parquet":
        from tuitrain.exporting import to_parquet

        count = to_parquet.write(sheet, path)
    else:
        from tuitrain.exporting import to_tensorboard

        count = to_tensorboard.write(sheet, path)
    return f"{count:,} rows, {len(sheet.columns)} columns"


@contextlib.contextmanager
def _new(path: Path) -> Iterator[Path]:
    """A path beside the one that is wanted, renamed to it once all is written. Raises UsageError if that is taken."""
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already; name another with --out")
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.rename(part, path)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}; name another place with --out") from None
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
