"""Hosts a run: a worker thread trains, a server thread serves the socket, the main thread prints."""

import atexit
import contextlib
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING

from tuitrain.cli.signals import Signals, out_of_time
from tuitrain.errors import ERROR, TuitrainError
from tuitrain.exporting import live
from tuitrain.exporting.live.log import Log
from tuitrain.exporting.live.target import About
from tuitrain.headless import PlainOutput
from tuitrain.host.host import Host
from tuitrain.protocol.events import EngineSaid, RunEnded
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.specs import OFF

if TYPE_CHECKING:
    from tuitrain.engine.worker import Worker


class WorkerHost(Host):
    """A host whose worker is a thread of this process; it releases socket and lock when the run ends."""

    def __init__(self, worker: "Worker", run: RunDirectory, lock: Lock) -> None:
        super().__init__(worker, run, lock)
        from tuitrain.futures.aside import Futures  # here, for it loads torch

        trainer = worker.trainer
        trainer.asides = (*trainer.asides, Futures(
            trainer, run, verifies=getattr(trainer.machine.config, "verify_guard", "off") == "on"))
        self.worker = worker
        self.feed = worker.feed()
        self._limit: threading.Timer | None = None
        self._log: Log | None = None
        self._ended = False
        self._ending = threading.Thread(target=self._end_with_the_run, name="ending")

    def start(self) -> None:
        """Start training."""
        if self._log is not None:
            self._log.start()
        self.worker.start()
        self._ending.start()
        if self._limit is not None:
            self._limit.start()

    def end_after(self, seconds: float) -> None:
        """Save and end this many seconds after the start, as for a cluster job with limited time."""
        self._limit = threading.Timer(seconds, out_of_time, [self.worker])
        self._limit.daemon = True

    def write_into(self, name: str) -> None:
        """Write the run into a library's log, too, from the start on; `off` writes into none."""
        if name == OFF:
            return
        kept = self.run.read_config()
        about = About(self.run.path, str(kept.get("run", "")), kept.get("config", {}))
        self._log = Log(name, self.worker.feed(), about, live.opener(name), self._say)

    def _say(self, said: EngineSaid) -> None:
        if self._ended:  # the run's own log is closed
            sys.stderr.write(f"tuitrain: {said.text}\n")
        else:
            self.worker.announce(said)

    def wait(self) -> None:
        """Wait until the run has ended and its folder is unlocked."""
        self._ending.join()

    def _end_with_the_run(self) -> None:
        self.worker.join()
        if self._limit is not None:
            self._limit.cancel()
        self.end()
        self._ended = True
        if self._log is not None and not self._log.close():
            self._say(EngineSaid(text=f"--log {self._log.name} does not finish and is left as it is"))


def serve(host: WorkerHost, *, json: bool) -> int:
    """Train to the end; returns the exit code."""
    # Python would take torch's modules apart when it ends: a second of a core, for nothing.
    atexit.register(gc.freeze)
    Signals(host.worker).install()
    lines = PlainOutput(sys.stdout, str(host.run.path), json=json)
    host.start()
    return print_to_the_end(host, lines)


def print_to_the_end(host: WorkerHost, lines: PlainOutput) -> int:
    """Print the events of a run until it has ended; returns the exit code."""
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
                    print("tuitrain: the reader of the output is gone; training goes on", file=sys.stderr)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    host.wait()
    with contextlib.suppress(OSError):
        lines.close()
    return exit_code(lines.ended, host.run)


def exit_code(ended: RunEnded, run: RunDirectory) -> int:
    """Return the run's exit code. Raises TuitrainError if the engine crashed."""
    if ended.exit_code == ERROR and ended.message:
        raise TuitrainError(f"the engine crashed at step {ended.step}: {ended.message}; the traceback is "
                            f"in {run.journal}; continue with `tuitrain resume {run.path}`")
    return ended.exit_code
