"""A host: the worker trains, the server serves; in the foreground the main thread prints and minds the signals."""

import contextlib
import copy
import os
import sys
import threading
from typing import TYPE_CHECKING

from tuitrain.cli.signals import Signals, out_of_time
from tuitrain.errors import ERROR, TuitrainError
from tuitrain.headless import Lines
from tuitrain.host.past import Past
from tuitrain.host.server import Server
from tuitrain.protocol.events import RunEnded
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.telemetry.run_state import RunState

if TYPE_CHECKING:
    from tuitrain.engine.worker import Worker


class Host:
    """The run that this process trains: its worker, its socket and its lock.

    Socket and lock are given up when the run ends, whatever else the process still does.
    """

    def __init__(self, worker: "Worker", run: RunDirectory, lock: Lock) -> None:
        self.worker, self.run, self._lock = worker, run, lock
        self._index = Past(run)
        self.past = copy.deepcopy(self._index.state)
        self.past.status, self.past.ended, self.past.clients = "starting", "", 0
        self.feed = worker.feed()
        self._server = _server(worker, run, copy.deepcopy(self.past))
        self._limit: threading.Timer | None = None
        worker.trainer.saves.on_committed = lambda: self._index.keep(lock.folder)
        self._ending = threading.Thread(target=self._end, name="ending")

    def start(self) -> None:
        """Begin to train."""
        self.worker.start()
        self._ending.start()
        if self._limit is not None:
            self._limit.start()

    def end_after(self, seconds: float) -> None:
        """Save and end so long after the start, for whoever has only so much time: a job on a cluster."""
        self._limit = threading.Timer(seconds, out_of_time, [self.worker])
        self._limit.daemon = True

    def wait(self) -> None:
        """Until the run has ended and its folder is free."""
        self._ending.join()

    def _end(self) -> None:
        self.worker.join()
        if self._limit is not None:
            self._limit.cancel()
        if self._server is not None:
            self._server.close()
        self._index.keep(self._lock.folder, now=True)
        self._lock.release()


def _server(worker: "Worker", run: RunDirectory, past: RunState) -> Server | None:
    """A socket, or a word that there is none: some file systems have no sockets, and training can do without."""
    try:
        server = Server(worker, run.socket, str(run.path), past)
    except OSError as error:
        print(f"tuitrain: no socket in {run.path} ({error.strerror or error}); `send` and `attach` will not reach it",
              file=sys.stderr)
        return None
    server.start()
    return server


def serve(host: Host, *, json: bool) -> int:
    """Train to the end; returns the exit code."""
    Signals(host.worker).install()
    lines = Lines(sys.stdout, str(host.run.path), json=json)
    host.start()
    return print_to_the_end(host, lines)


def print_to_the_end(host: Host, lines: Lines) -> int:
    """Print what the run says until it has ended; returns the exit code."""
    reading = True
    while lines.ended is None:
        for event, when in host.feed.drain_timed(0.2):
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
    host.wait()
    with contextlib.suppress(OSError):
        lines.close()
    return exit_code(lines.ended, host.run)


def exit_code(ended: RunEnded, run: RunDirectory) -> int:
    """The run's exit code. Raises TuitrainError if the engine crashed."""
    if ended.exit_code == ERROR and ended.message:
        raise TuitrainError(f"the engine crashed at step {ended.step}: {ended.message}; the traceback is "
                            f"in {run.journal}, go on with `tuitrain resume {run.path}`")
    return ended.exit_code
