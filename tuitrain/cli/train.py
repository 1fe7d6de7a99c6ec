"""Train a character LSTM or GRU on a text.

example: tuitrain copperfield.txt --no-ui --minutes 10
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuitrain.charlstm.config import Config
from tuitrain.cli import options, ranks, screen, settings
from tuitrain.cli.age import age
from tuitrain.cli.signals import before_training
from tuitrain.engine.ranks.place import Place, place
from tuitrain.errors import CorpusError, RunError, UsageError
from tuitrain.exporting import live
from tuitrain.protocol import askers
from tuitrain.run.directory import RunDirectory, new_run
from tuitrain.specs import OFF

if TYPE_CHECKING:
    from tuitrain.cli.serve import WorkerHost
    from tuitrain.engine.ranks.group import Group
    from tuitrain.telemetry.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a new run."""
    parser.usage = "%(prog)s [CORPUS] [options]"
    parser.add_argument("corpus", nargs="?", help="a text file (default: the text of the package)")
    parser.add_argument("--run", metavar="DIR", help="the run folder (default runs/<corpus>-<n>)")
    screen.add_arguments(parser)
    screen.add_host_arguments(parser)
    parser.add_argument("--detach", action="store_true", help="train in the background, print the run folder, return")
    parser.add_argument("--show-config", action="store_true",
                        help="print every setting and its origin; train nothing")
    options.add(parser)


def run(arguments: argparse.Namespace) -> int:
    """Start a new run; returns the exit code. Raises UsageError, CorpusError, RunError."""
    among = place()
    if among is not None and among.rank > 0:
        ranks.follow(among)
    if arguments.json and not arguments.no_ui:
        raise UsageError("--json belongs to --no-ui; add --no-ui")
    if arguments.json and arguments.detach:
        raise UsageError("--json writes to standard output, which --detach leaves; use one of them")
    from tuitrain.charlstm.text import corpus

    found = settings.in_force(
        {name: value for name, value in options.given(arguments).items() if name not in options.NOT_OPTIONS},
        Path(arguments.run) if arguments.run else None)
    if arguments.show_config:
        print(settings.table(found))
        return 0
    path = Path(arguments.corpus) if arguments.corpus else shipped_corpus()
    given: dict[str, object] = {name: setting.value for name, setting in found.items()} | {"corpus": str(path)}
    Config.of(given)  # reports mistakes before torch is loaded
    live.check(str(given.get("log", OFF)))
    corpus.check(path, int(str(given.get("limit", 0))))
    if among is not None:
        ranks.check(among, named=bool(arguments.run))
    if arguments.run:
        return _begin(given, RunDirectory(Path(arguments.run)), arguments, among)
    folder = new_run(Path("runs"), path.stem)
    try:
        return _begin(given, folder, arguments, among)
    finally:
        with contextlib.suppress(OSError):  # succeeds only if no run was started, so that they are empty
            folder.path.rmdir()
            folder.path.parent.rmdir()


def _begin(given: dict[str, object], folder: RunDirectory, arguments: argparse.Namespace, among: Place | None) -> int:
    if among is not None:
        return _lead(among, given, folder, arguments)
    if arguments.detach:
        return _detach(given, folder)

    if arguments.no_ui or not screen.has_screen():
        return _plain(given, folder, arguments)
    given.setdefault("on_divergence", "pause")  # there is someone to ask
    if arguments.host == "here":
        from tuitrain.cli.here import Here

        return Here(folder, lambda: _host(given, folder), mouse=arguments.mouse).show()
    return screen.show(folder, lambda: _join(given, folder), mouse=arguments.mouse)


def _lead(among: Place, given: dict[str, object], folder: RunDirectory, arguments: argparse.Namespace) -> int:
    """Train as rank 0 of several processes; where they were started again, go on from the last checkpoint."""
    if among.start and folder.config.exists() and any(folder.checkpoints.glob("*.json")):
        from tuitrain.cli import resume

        return resume.lead(among, resume.afresh(json=arguments.json), {}, folder)
    if arguments.detach:
        raise UsageError("--detach: torchrun stays in the foreground; put torchrun itself into the background")
    if among.start:
        folder.discard()  # it failed before there was a checkpoint: nothing is lost by beginning anew
    return ranks.lead(among, lambda group: _host(given, folder, group), json=arguments.json)


def _plain(given: dict[str, object], folder: RunDirectory, arguments: argparse.Namespace) -> int:
    from tuitrain.cli.serve import serve

    host = _host(given, folder)
    if not arguments.no_ui:
        print("tuitrain: no terminal for the cockpit; printing plain lines as with --no-ui", file=sys.stderr)
    return serve(host, json=arguments.json)


def _host(given: dict[str, object], folder: RunDirectory, group: "Group | None" = None) -> "WorkerHost":
    began = time.monotonic() - age()
    before_training()
    if folder.config.exists():
        folder.create()  # raises before anything is loaded, read or timed
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    _report("loading torch")
    from tuitrain.charlstm import prepare
    from tuitrain.cli.serve import WorkerHost

    if group is not None:
        given = ranks.shared(given, group.place)
    made = runtime.aside(lambda: prepare.plan(given, _report))
    folder.create()
    try:
        lock = folder.lock()
        worker = runtime.aside(lambda: prepare.start(made, folder, _report, began, group))
    except OSError as error:
        folder.discard()
        raise RunError(f"{folder.path}: {error.strerror or error}; make room or name another folder with "
                       "--run") from None
    except BaseException:  # no memory, a signal, a bug: a folder that cannot be resumed is of no use
        folder.discard()
        raise
    host = WorkerHost(worker, folder, lock)
    host.write_into(str(given.get("log", OFF)))
    return host


def _report(words: str) -> None:
    """Print what is being done, because the first step may be a while away on a slow machine."""
    print(f"tuitrain: {words} …", file=sys.stderr, flush=True)


def _join(given: dict[str, object], folder: RunDirectory) -> "Session":
    """Start a host process for this run and return a session with it."""
    from tuitrain.host.client import SocketSession

    _launch(given, folder)
    return SocketSession(folder, watch=True, by=askers.PERSON)


def _detach(given: dict[str, object], folder: RunDirectory) -> int:
    pid = _launch(given, folder)
    print(folder.path)
    print(f"tuitrain: training in the background, pid {pid}; watch it with `tuitrain attach {folder.path}`",
          file=sys.stderr)
    return 0


def _launch(given: dict[str, object], folder: RunDirectory) -> int:
    from tuitrain.host.launch import launch

    if folder.config.exists():
        folder.create()  # raises: the folder holds a run
    return launch(["train", "--no-ui", f"--run={folder.path}", *options.to_arguments(given), "--",
                   str(given["corpus"])], folder)


def shipped_corpus() -> Path:
    """Return the path of the text that ships with the package, in a wheel or in a checkout. Raises CorpusError."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "corpora", package.parent / "corpora"):
        path = folder / "harbour.txt"
        if path.exists():
            return path
    raise CorpusError("the text that ships with the package is missing; name a text file")
