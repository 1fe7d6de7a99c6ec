"""A host in the foreground: the worker trains, the server serves, the main thread prints and minds the signals."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from tuitrain.errors import ERROR, INTERRUPTED, TERMINATED, TuitrainError
from tuitrain.headless import Lines
from tuitrain.host.server import Server
from tuitrain.protocol.commands import Stop
from tuitrain.protocol.events import RunEnded
from tuitrain.run import journal
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.telemetry.run_state import RunState

if TYPE_CHECKING:
    from tuitrain.engine.worker import Worker


class Signals:
    """First SIGINT or SIGTERM: stop at the step boundary and save. Second: leave at once."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._asked = False

    def install(self) -> None:
        """Take over the signals; one that the parent had ignored (nohup) stays ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        if self._asked:
            with contextlib.suppress(OSError):
                os.write(2, b"\ntuitrain: leaving at once; the last checkpoint on disk is whole\n")
            os._exit(code)
        self._asked = True
        reason = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}[code]
        self._worker.send(Stop(id="signal", by=signal.Signals(number).name, reason=reason, exit_code=code))


def _server(worker: "Worker", run: RunDirectory) -> Server | None:
    """A socket, or a word that there is none: some file systems have no sockets, and training can do without."""
    try:
        server = Server(worker, run.socket, str(run.path), remembered(run))
    except OSError as error:
        print(f"tuitrain: no socket in {run.path} ({error.strerror or error}); `send` and `attach` will not reach it",
              file=sys.stderr)
        return None
    server.start()
    return server


def remembered(run: RunDirectory) -> RunState:
    """What the journal says of a run so far: one who attaches to a resumed run sees all of it."""
    state = RunState()
    for event, when in journal.read(run.journal):
        state.fold(event, when)
    state.status, state.ended, state.clients = "starting", "", 0
    return state


def serve(worker: "Worker", run: RunDirectory, lock: Lock, *, json: bool) -> int:
    """Train to the end; returns the exit code."""
    feed = worker.feed()
    server = _server(worker, run)
    lines = Lines(sys.stdout, str(run.path), json=json)
    Signals(worker).install()
    worker.start()
    reading = True
    while lines.ended is None:
        for event, when in feed.drain_timed(0.2):
            if not reading:
                lines.state.fold(event)
                lines.ended = event if isinstance(event, RunEnded) else lines.ended
                continue
            try:
                lines.show(event, when)
            except OSError:
                reading = False
                with contextlib.suppress(OSError):
                    print("tuitrain: nobody reads the output any more; training goes on", file=sys.stderr)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    worker.join()
    if server is not None:
        server.close()
    lock.release()
    with contextlib.suppress(OSError):
        lines.close()
    if lines.ended.exit_code == ERROR:
        raise TuitrainError(f"the engine crashed at step {lines.ended.step}: {lines.ended.message}; the traceback is "
                            f"in {run.journal}, go on with `tuitrain resume {run.path}`")
    return lines.ended.exit_code
