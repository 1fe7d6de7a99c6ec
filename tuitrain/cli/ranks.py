"""Training by several processes (torchrun): rank 0 is a host in plain lines, the others follow it without a word.

No screen opens here: torchrun owns the terminal. `tuitrain attach` shows the run from another one.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from tuitrain.cli.signals import ENDINGS
from tuitrain.engine.ranks.place import Place
from tuitrain.errors import ERROR, FINISHED, UsageError
from tuitrain.protocol.commands import Stop

if TYPE_CHECKING:
    from tuitrain.cli.serve import WorkerHost
    from tuitrain.engine.ranks.group import Group


def follow(place: Place) -> NoReturn:
    """Take part as a rank other than 0, and end this process with the exit code of the run."""
    for number in ENDINGS:  # rank 0 decides what a signal means, and all end together
        signal.signal(number, signal.SIG_IGN)
    group = _joined(place)
    from tuitrain.charlstm.ranks.follower import follow as take_part
    from tuitrain.engine.ranks.group import Lost

    try:
        code = take_part(group)
    except Lost as lost:
        print(f"tuitrain: process {place.rank}: {lost}", file=sys.stderr, flush=True)
        code = ERROR
    # It has nothing to save, and threads of gloo may still wait for a process that is gone.
    os._exit(code)


def lead(place: Place, make: Callable[["Group"], "WorkerHost"], *, json: bool) -> int:
    """Train as rank 0 to the end and have the others end; returns the exit code."""
    from tuitrain.cli.serve import serve

    group = _joined(place)
    code = ERROR
    try:
        host = make(group)
        group.on_lost = lambda why: host.worker.send(Stop(id="", by="", reason=why, exit_code=ERROR))
        code = serve(host, json=json)
    finally:
        code = FINISHED if place.restarts and code != ERROR else code
        _release(group, code)
    return code


def check(place: Place, named: bool) -> None:
    """Raise UsageError if a restart would not find the run again."""
    if place.restarts and not named:
        raise UsageError("--max-restarts: name the run with --run DIR, so that all processes find it when they are "
                         "started again")


def shared(given: Mapping[str, object], place: Place) -> dict[str, object]:
    """Return the options with the compute threads of each process, unless they were given."""
    from tuitrain.charlstm.start.hardware import threads_each

    threads = threads_each(place) if given.get("threads", "auto") == "auto" else given["threads"]
    return {**given, "threads": threads}


def _joined(place: Place) -> "Group":
    from tuitrain.charlstm import runtime

    runtime.before_torch()
    from tuitrain.engine.ranks.group import Group

    return Group(place)


def _release(group: "Group", code: int) -> None:
    from tuitrain.engine.ranks.group import Lost, Order

    with contextlib.suppress(Lost, RuntimeError):
        group.announce(Order.END, (code,))
    with contextlib.suppress(Lost, RuntimeError):
        group.close()
