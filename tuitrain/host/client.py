"""A Session connected to a run's socket. Knows nothing of what commands do."""

import dataclasses
import errno
import select
import socket
import time
from collections import deque
from typing import Any

from tuitrain.errors import RunError
from tuitrain.host.address import address
from tuitrain.protocol import askers, codec
from tuitrain.protocol.commands import Command
from tuitrain.protocol.events import ClientJoined, Event, by_of, id_of
from tuitrain.run.directory import RunDirectory, is_alive
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.session import Session

PATIENCE = 10.0
"""Seconds within which a host must have sent its whole state."""
CROWDED = 2.0
"""Seconds for which connecting is retried while the host's queue of connections is full."""
BUSY = (errno.EAGAIN, errno.ECONNREFUSED)
OTHER_VERSION = ("this run's host speaks another version of tuitrain; attach with the version that trains it, or stop "
                 "it there and go on here with `tuitrain resume`")


class SocketSession(Session):
    """A session that connects on construction; `state` is the server's state then and at each resynchronisation.

    `resynchronised` counts how often the server sent a fresh state because this client was too slow; `closed` is set
    once the server is gone.
    """

    connection = "live"

    def __init__(self, run: RunDirectory, *, watch: bool, by: str) -> None:
        self._run, self._by = run, by
        self._asked: set[str] = set()
        self._pending: set[str] = set()
        """Ids of the commands that were sent, and of those that have no answer yet."""
        self._joined = False
        self._socket = _connected(run)
        self._buffer = bytearray()
        self._events: deque[tuple[Event, float]] = deque()
        self.state = RunState()
        self.resynchronised = -1
        self.closed = False
        self._version_differs = False
        try:
            self._write({"v": codec.VERSION, "kind": "Hello", "watch": watch, "by": by})
            deadline = time.monotonic() + PATIENCE
            while self.resynchronised < 0 and not self.closed and (left := deadline - time.monotonic()) > 0:
                self._read(left)
        except RunError:
            self.closed = True
        if self._version_differs:
            self.close()
            raise RunError(OTHER_VERSION)
        if self.resynchronised < 0:
            self.close()
            raise RunError(_unreachable(run))

    def send(self, command: Command) -> None:
        """Send a command; the answer is an event with its id. Raises RunError if the server is gone."""
        self._asked.add(command.id)
        self._pending.add(command.id)
        self._write(codec.body_of(command))

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events since the last call with their Unix times, waiting up to `timeout` seconds for one."""
        if not self.closed:
            self._read(0.0)
            if not self._events and timeout and not self.closed:
                self._read(timeout)
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Disconnect; the run continues."""
        self.closed = True
        self._socket.close()

    def _write(self, body: dict[str, Any]) -> None:
        try:
            self._socket.sendall(codec.seal(body).encode() + b"\n")
        except OSError:
            self.closed = True
            raise RunError(_gone(self._run)) from None

    def _read(self, timeout: float) -> None:
        ready, _, _ = select.select([self._socket], [], [], timeout)
        if not ready:
            return
        try:
            data = self._socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._handle(line)
        if len(self._buffer) > codec.MAX_LINE:
            self.closed = True

    def _handle(self, line: bytes) -> None:
        try:
            body = codec.unseal(line)
            if body.get("kind") in ("Hello", "State") and body.get("v") != codec.VERSION:
                raise ValueError("another version")
            if body.get("kind") == "State":
                self.state = RunState.from_wire(body["state"])
                self.resynchronised += 1
                self._events.clear()  # the state includes everything before it
            elif body.get("kind") != "Hello":
                self._events.append((self._named(codec.from_body(body, Event)), codec.time_of(body)))
        except codec.DamagedLine:
            return  # a newer server may send messages that this client does not know
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # A state of another shape: every later one will be the same, so waiting would never end.
            self._version_differs = self.closed = True


    def _named(self, event: Event) -> Event:
        """Return an event that names the person here `you`, and one at another cockpit `another`."""
        id = id_of(event)
        # What goes along with an answer, as a clip that ceases to be automatic, has no id and comes before it.
        ours = id in self._asked if id else bool(self._pending)
        self._pending.discard(id)
        if isinstance(event, ClientJoined):
            ours, self._joined = not self._joined, True
        if by_of(event) != askers.PERSON or self._by != askers.PERSON or ours:
            return event
        return dataclasses.replace(event, by=askers.ANOTHER)  # type: ignore[call-arg]


def _connected(run: RunDirectory) -> socket.socket:
    """Connect to a run's socket. Raises RunError, immediately unless only the queue is full."""
    deadline = time.monotonic() + CROWDED
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(PATIENCE)
        try:
            with address(run.socket) as name:
                connection.connect(name)
            return connection
        except OSError as error:
            connection.close()
            if error.errno not in BUSY or time.monotonic() > deadline or not is_alive(run):
                raise RunError(_unreachable(run)) from None
            time.sleep(0.05)


def _gone(run: RunDirectory) -> str:
    if is_alive(run):
        return f"{run.path} is being trained but does not answer on its socket"
    return "the run has ended or its process is gone"


def _unreachable(run: RunDirectory) -> str:
    if not run.config.exists():
        return f"{run.path} is not a run folder; `tuitrain runs` lists those there are"
    if is_alive(run):
        return f"{run.path} is being trained but does not answer on its socket"
    return f"{run.path} is not running; go on with `tuitrain resume {run.path}`"
