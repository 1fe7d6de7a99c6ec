"""Resume a run exactly where it stopped.

example: tuitrain resume runs/copperfield-1 --steps 20000
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

from tuitrain.cli import options, ranks, screen
from tuitrain.cli.signals import before_training
from tuitrain.engine.ranks.place import Place, place
from tuitrain.errors import RunError, UsageError
from tuitrain.exporting import live
from tuitrain.protocol import askers
from tuitrain.run import journal
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.specs import OFF

if TYPE_CHECKING:
    from tuitrain.cli.serve import WorkerHost
    from tuitrain.engine.ranks.group import Group
    from tuitrain.telemetry.session import Session

UNLOCK_TIMEOUT = 10.0
"""Seconds to wait for a process that has ended its run to unlock the folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the checkpoint to resume from, and the knobs."""
    parser.usage = "%(prog)s RUN [options]"
    parser.add_argument("run", metavar="RUN", help="the run folder")
    screen.add_arguments(parser)
    screen.add_host_arguments(parser)
    parser.add_argument("--detach", action="store_true", help="train in the background, print the run folder, return")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="resume from this checkpoint, not the newest")
    parser.add_argument("--corpus", metavar="FILE", help="path of the text, if the run has no copy of it")
    parser.add_argument("--minutes", type=options.above_zero, metavar="M",
                        help="train for this long, then save and end with exit code 75 (resume again)")
    options.add(parser, ("steps", "epochs", "log", *options.KNOBS))


def run(arguments: argparse.Namespace) -> int:
    """Resume the run in the foreground or in the background; returns the exit code."""
    among = place()
    if among is not None and among.rank > 0:
        ranks.follow(among)
    folder = options.run_folder(arguments.run)
    options.character_run(folder)
    if arguments.json and not arguments.no_ui:
        raise UsageError("--json belongs to --no-ui; add --no-ui")
    given = options.given(arguments)
    live.check(str(given.get("log", OFF)))
    if among is not None:
        return lead(among, arguments, given, folder)
    if arguments.detach:
        _launch(arguments, given, folder)
        print(folder.path)
        return 0

    if not arguments.no_ui and screen.has_screen():
        _locked(folder).release()  # raises before the screen opens if another process holds the lock
        if arguments.host == "here":
            from tuitrain.cli.here import Here

            return Here(folder, lambda: host(arguments, given, folder), corpus=arguments.corpus,
                        mouse=arguments.mouse).show()
        return screen.show(folder, lambda: _join(arguments, given, folder), mouse=arguments.mouse,
                           corpus=arguments.corpus)
    from tuitrain.cli.serve import serve

    return serve(host(arguments, given, folder), json=arguments.json)


def afresh(*, json: bool) -> argparse.Namespace:
    """Return the arguments by which a run goes on from its newest checkpoint with nothing changed."""
    return argparse.Namespace(json=json, corpus=None, checkpoint=None, minutes=None)


def lead(among: Place, arguments: argparse.Namespace, given: dict[str, Any], folder: RunDirectory) -> int:
    """Resume as rank 0 of several processes."""
    return ranks.lead(among, lambda group: host(arguments, given, folder, group), json=arguments.json)


def host(arguments: argparse.Namespace, given: dict[str, Any], folder: RunDirectory,
          group: "Group | None" = None) -> "WorkerHost":
    """Lock a run and make it ready to go on in this process. Raises TuitrainError."""
    before_training()
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.charlstm import prepare
    from tuitrain.cli.serve import WorkerHost

    lock = _locked(folder)
    worker = runtime.aside(lambda: prepare.resume(
        folder, steps=given.get("steps"), epochs=given.get("epochs"), corpus_path=arguments.corpus,
        checkpoint=arguments.checkpoint,
        knobs={name: given[name] for name in options.KNOBS if name in given}, group=group))
    made = WorkerHost(worker, folder, lock)
    made.write_into(str(given.get("log", folder.read_config()["config"].get("log", OFF))))
    if arguments.minutes:
        made.end_after(60 * arguments.minutes)
    return made


def _locked(folder: RunDirectory) -> Lock:
    """Lock a run, waiting for a process that has recorded the end of its run. Raises RunError."""
    deadline = time.monotonic() + UNLOCK_TIMEOUT
    while True:
        try:
            return folder.lock()
        except RunError:
            if time.monotonic() > deadline or not journal.has_ended(folder.journal):
                raise
            time.sleep(0.05)


def _join(arguments: argparse.Namespace, given: dict[str, Any], folder: RunDirectory) -> "Session":
    from tuitrain.host.client import SocketSession

    _launch(arguments, given, folder)
    return SocketSession(folder, watch=True, by=askers.PERSON)


def _launch(arguments: argparse.Namespace, given: dict[str, Any], folder: RunDirectory) -> None:
    from tuitrain.host.launch import launch

    _locked(folder).release()  # raises if another process holds the lock
    words = ["resume", "--no-ui", *options.to_arguments(
        {k: v for k, v in given.items() if k != "corpus"})]
    words += [f"--checkpoint={arguments.checkpoint}"] if arguments.checkpoint is not None else []
    words += [f"--corpus={arguments.corpus}"] if arguments.corpus else []
    launch([*words, "--", str(folder.path)], folder)
