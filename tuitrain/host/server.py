"""Serves a session on a unix socket in the run folder, to any number of clients of the same user.

The protocol is lines of sealed JSON. A client receives a Hello, a State, then numbered events, and another State
whenever it was too slow. It sends a Hello that says whether it watches, then commands. Anything else closes the
connection.
"""

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tuitrain.host.address import address
from tuitrain.protocol import codec
from tuitrain.protocol.channel import Feed
from tuitrain.protocol.events import ClientJoined, ClientLeft, Event
from tuitrain.telemetry.run_state import RunState

MAX_BUFFER = 256 << 10
MAX_LINE = 64 << 10
MAX_CLIENTS = 256
BACKLOG = 512
"""Connections that may wait to be accepted; many, so that a client is not refused as if no host answered."""
ROUND, IDLE_ROUND = 0.2, 1.0
"""Seconds until the next look at the events, with and without clients, if nothing happens on a socket."""
LAST_WORDS = 2.0
"""Seconds that clients have at the end to read the last events."""


class Source(Protocol):
    """Where the server gets its events, and where it announces its own."""

    def feed(self) -> Feed: ...
    def announce(self, event: Event) -> None: ...


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.incoming = b""
        self.outgoing = bytearray()
        self.behind = False
        self.watches = False
        self.name = ""


class Server:
    """Serves clients from its own thread, so that neither training nor printing delays it."""

    def __init__(self, source: Source, path: Path, run: str, state: RunState | None = None) -> None:
        self._source, self._path, self._run = source, path, run
        self._state = state or RunState()
        self._feed = source.feed()
        self._clients: dict[socket.socket, _Client] = {}
        self._number = 0
        self._whole: tuple[int, bytes] | None = None
        """The state as it was last sent, with the number of the newest event in it: encoding it takes long."""
        self._selector = selectors.DefaultSelector()
        self._listener = self._bind(path)
        self._wake_out, self._wake_in = socket.socketpair()
        for end in (self._wake_in, self._wake_out, self._listener):
            end.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._reported = False
        self._feed.on_ready = self._event_ready
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def close(self) -> None:
        """Let clients read the last events, then end and remove the socket."""
        self._closing.set()
        self._wake()
        self._thread.join(LAST_WORDS + 1)
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._bound:  # if the folder was replaced, the socket is another run's
                self._path.unlink()

    def _bind(self, path: Path) -> socket.socket:
        # The caller holds the run's lock, so an existing socket belongs to a process that is gone.
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            with address(path) as name:
                listener.bind(name)
        finally:
            os.umask(before)
        self._bound = _identity(path)
        listener.listen(BACKLOG)
        return listener

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_out.send(b"!")

    def _event_ready(self) -> None:
        """Send it at once if there are clients; otherwise it waits for the next round, to disturb training less."""
        if self._clients:
            self._wake()

    def _serve(self) -> None:
        deadline: float | None = None
        while True:
            for key, _ in self._selector.select(ROUND if self._clients else IDLE_ROUND):
                if key.fileobj is self._listener:
                    with self._guarded("accepting a client"):
                        self._accept()
                elif key.fileobj is self._wake_in:
                    with contextlib.suppress(OSError):
                        self._wake_in.recv(4096)
                else:
                    self._attempt(key.data, self._receive)
            # Read before the feed is drained, so that the feed then holds every event from before the end.
            closing = self._closing.is_set()
            with self._guarded("sending events"):
                self._publish()
            for client in list(self._clients.values()):
                self._attempt(client, self._flush)
            if closing:
                deadline = deadline or time.monotonic() + LAST_WORDS
                if time.monotonic() > deadline or not any(c.outgoing for c in self._clients.values()):
                    break
        for client in list(self._clients.values()):
            client.connection.close()
        self._selector.close()
        for end in (self._listener, self._wake_in, self._wake_out):
            end.close()

    def _attempt(self, client: _Client, do: Callable[[_Client], None]) -> None:
        """Do something for one client and drop it on an error, so that the thread goes on serving the others."""
        try:
            do(client)
        except Exception as error:
            self._report("serving a client", error)
            with self._guarded("dropping a client"):
                self._drop(client)

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._report(what, error)

    def _report(self, what: str, error: Exception) -> None:
        if self._reported:
            return  # most likely the same error, many times a second
        self._reported = True
        with contextlib.suppress(Exception):
            sys.stderr.write(f"the server goes on after an internal error while {what}: {repr(error)[:300]}\n")

    def _publish(self) -> None:
        for event, when in self._feed.drain_timed():
            with self._guarded("sending events"):  # one at a time: an error does not stop the others
                self._send_event(event, when)

    def _send_event(self, event: Event, when: float) -> None:
        self._number += 1
        self._state.fold(event, when)
        if not self._clients:
            return
        line = codec.seal({**codec.body_of(event, when), "n": self._number}).encode() + b"\n"
        for client in self._clients.values():
            if client.behind:
                continue
            if len(client.outgoing) + len(line) > MAX_BUFFER:
                client.behind = True
            else:
                client.outgoing += line

    def _accept(self) -> None:
        """Accept everyone who waits, so that a crowd is sent one state and not one each."""
        with contextlib.suppress(OSError):
            for _ in range(BACKLOG):
                self._greet(self._listener.accept()[0])

    def _greet(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS or not _same_user(connection):
            connection.close()
            return
        client = _Client(connection)
        self._clients[connection] = client
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._send(client, {"v": codec.VERSION, "kind": "Hello", "run": self._run, "pid": os.getpid(),
                            "step": self._state.step})
        self._send_state(client)

    def _send(self, client: _Client, body: dict[str, Any]) -> None:
        client.outgoing += codec.seal(body).encode() + b"\n"

    def _send_state(self, client: _Client) -> None:
        client.behind = False
        if self._whole is None or self._whole[0] != self._number:
            body = {"v": codec.VERSION, "kind": "State", "n": self._number, "state": self._state.to_wire()}
            self._whole = self._number, codec.seal(body).encode() + b"\n"
        client.outgoing += self._whole[1]

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.incoming += data
        *lines, client.incoming = client.incoming.split(b"\n")
        valid = all(len(line) <= MAX_LINE and self._handle(client, line) for line in lines)
        if not data or not valid or len(client.incoming) > MAX_LINE:
            self._drop(client)

    def _handle(self, client: _Client, line: bytes) -> bool:
        """Handle one line of a client; False if it is not a valid message."""
        try:
            body = codec.unseal(line)
            if body.get("kind") == "Hello":
                if body.get("watch") and not client.watches:
                    client.watches, client.name = True, str(body.get("by", ""))[:100]
                    self._source.announce(ClientJoined(by=client.name, clients=self._watching()))
                return True
            self._feed.send(codec.decode_command(line))
        except codec.DamagedLine:
            return False
        return True

    def _flush(self, client: _Client) -> None:
        if client.connection.fileno() < 0:
            return
        try:
            while client.outgoing:
                del client.outgoing[: client.connection.send(client.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if client.behind and not client.outgoing:
            self._send_state(client)
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outgoing else 0)
        self._selector.modify(client.connection, wanted, client)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.connection, None) is None:
            return
        self._selector.unregister(client.connection)
        client.connection.close()
        if client.watches:
            self._source.announce(ClientLeft(by=client.name, clients=self._watching()))

    def _watching(self) -> int:
        return sum(c.watches for c in self._clients.values())


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _same_user(connection: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # only the folder's mode protects the socket
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return uid in (os.getuid(), 0)
