"""The run that this process carries, as others reach it: its socket, its index and its lock.

Knows nothing of what trains: a worker of ours or somebody's own loop.
"""

import copy
import sys
from collections.abc import Callable
from typing import Protocol

from tuitrain.host.past import Past
from tuitrain.host.server import Server, Source
from tuitrain.run.directory import Lock, RunDirectory
from tuitrain.telemetry.run_state import RunState


class Carrier(Source, Protocol):
    """What carries a run and announces its events."""

    def after_saving(self, call: Callable[[], None]) -> None:
        """Have this called after each checkpoint, in whatever thread writes it."""


class Host:
    """Socket, index and lock of a run from its beginning; all are given up by `end`."""

    def __init__(self, carrier: Carrier, run: RunDirectory, lock: Lock) -> None:
        self.run, self._lock = run, lock
        self._index = Past(run)
        self.past = copy.deepcopy(self._index.state)
        self.past.status, self.past.ended, self.past.clients = "starting", "", 0
        self._server = _server(carrier, run, copy.deepcopy(self.past))
        carrier.after_saving(lambda: self._index.keep(lock.folder))

    def end(self) -> None:
        """The run has ended: tell the clients, then free its folder."""
        if self._server is not None:
            self._server.close()
        self._index.keep(self._lock.folder, now=True)
        self._lock.release()


def _server(carrier: Carrier, run: RunDirectory, past: RunState) -> Server | None:
    """A socket, or a word that there is none: some file systems have no sockets, and training can do without."""
    try:
        server = Server(carrier, run.socket, str(run.path), past)
    except OSError as error:
        sys.stderr.write(f"tuitrain: no socket in {run.path} ({error.strerror or error}); `send` and `attach` will "
                         "not reach it\n")
        return None
    server.start()
    return server
