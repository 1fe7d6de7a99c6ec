"""What makes a run in this process reachable for others: its socket, its index and its lock.

Knows nothing of what trains: our worker or somebody's own loop.
"""

import copy
import sys
from collections.abc import Callable
from typing import Protocol

from tuitrain.host.server import Server, Source
from tuitrain.recording.past import Past
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.telemetry.run_state import RunState


class Carrier(Source, Protocol):
    """Whatever runs the training and emits its events."""

    def after_saving(self, call: Callable[[], None]) -> None:
        """Register a function to call after each checkpoint, in the thread that writes it."""


class Host:
    """Holds socket, index and lock of a run from its start until `end`."""

    def __init__(self, carrier: Carrier, run: RunDirectory, lock: Lock) -> None:
        self.run, self._lock = run, lock
        self._index = Past(run, guides=True)
        self.past = copy.deepcopy(self._index.state)
        self.past.status, self.past.ended, self.past.clients = "starting", "", 0
        self._server = _server(carrier, run, copy.deepcopy(self.past))
        carrier.after_saving(lambda: self._index.keep(lock.folder))

    def end(self) -> None:
        """After the end of the run: send clients the last events, write the index, release the folder."""
        if self._server is not None:
            self._server.close()
        self._index.keep(self._lock.folder, now=True)
        self._lock.release()


def _server(carrier: Carrier, run: RunDirectory, past: RunState) -> Server | None:
    """Start a server, or warn and return None: some file systems have no sockets, and training can do without."""
    try:
        server = Server(carrier, run.socket, str(run.path), past)
    except OSError as error:
        sys.stderr.write(f"tuitrain: no socket in {run.path} ({error.strerror or error}); `send` and `attach` will "
                         "not reach it\n")
        return None
    server.start()
    return server
