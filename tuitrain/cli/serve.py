"""A host: the worker trains, the server serves; in the foreground the main thread prints and minds the signals."""

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING

from tuitrain.cli.signals import Signals, out_of_time
from tuitrain.errors import ERROR, TuitrainError
from tuitrain.headless import PlainOutput
from tuitrain.host.host import Host
from tuitrain.protocol.events import RunEnded
from tuitrain.run.directory import Lock, RunDirectory

if TYPE_CHECKING:
    from tuitrain.engine.worker import Worker


class WorkerHost(Host):
    """A host whose worker is a thread of this process; it gives up socket and lock when the run ends."""

    def __init__(self, worker: "Worker", run: RunDirectory, lock: Lock) -> None:
        super().__init__(worker, run, lock)
        self.worker = worker
        self.feed = worker.feed()
        self._limit: threading.Timer | None = None
        self._ending = threading.Thread(target=self._end_with_the_run, name="ending")

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

    def _end_with_the_run(self) -> None:
        self.worker.join()
        if self._limit is not None:
            self._limit.cancel()
        self.end()


def serve(host: WorkerHost, *, json: bool) -> int:
    """Train to the end; returns the exit code."""
    Signals(host.worker).install()
    lines = PlainOutput(sys.stdout, str(host.run.path), json=json)
    host.start()
    return print_to_the_end(host, lines)


def print_to_the_end(host: WorkerHost, lines: PlainOutput) -> int:
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
