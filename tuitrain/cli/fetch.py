"""Download a public-domain book by name, or by its number at Project Gutenberg. Without a name: the list.

example: tuitrain fetch copperfield && tuitrain copperfield.txt
"""

import argparse
import sys
from pathlib import Path

from tuitrain import books
from tuitrain.errors import INTERRUPTED, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the book, the server and the destination."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a name from the list, or a number")
    parser.add_argument("--to", metavar="DIR", default=".", help="the folder to save it in (default: the current one)")
    parser.add_argument("--mirror", metavar="URL", help="a mirror of Project Gutenberg to download from")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def run(arguments: argparse.Namespace) -> int:
    """Download the book and print its path; without a name print the list."""
    if arguments.name is None:
        for book in books.BOOKS:
            print(f"{book.name:<14}{book.number:>6}  {book.title}, {book.author}")
        return 0
    book, folder = books.find(arguments.name), Path(arguments.to)
    if not folder.is_dir():
        raise UsageError(f"--to {folder}: there is no such folder")
    path = folder / f"{book.name}.txt"
    if path.exists() and not arguments.force:
        print(f"tuitrain: {path} exists already; --force downloads it again", file=sys.stderr)
        print(path)
        return 0
    try:
        warning = _fetch(book, path, arguments.mirror or books.GUTENBERG)
    except KeyboardInterrupt:
        print("tuitrain: interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    if warning:
        print(f"tuitrain: {warning}", file=sys.stderr)
    print(path)
    return 0


def _fetch(book: books.Book, path: Path, server: str) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                  console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(book.title, total=None)
        return books.fetch(book, path, server=server,
                           progress=lambda have, total: bar.update(task, completed=have, total=total))
