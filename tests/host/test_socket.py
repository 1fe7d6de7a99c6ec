"""The socket: private, deep, slow and garbled clients, commands from afar."""

import contextlib
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuitrain.errors import RunError
from tuitrain.host import server as server_module
from tuitrain.host.address import address
from tuitrain.host.client import SocketSession
from tuitrain.host.server import Server
from tuitrain.protocol import codec
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory


class Source:
    """A scripted run: what it is told becomes events, what it is asked is kept."""

    def __init__(self) -> None:
        self.asked: list[c.Command] = []
        self._events: list[e.Event] = []
        self._lock = threading.Lock()
        self.on_ready: Callable[[], None] | None = None

    def feed(self) -> "Source":
        return self

    def announce(self, event: e.Event) -> None:
        with self._lock:
            self._events.append(event)
        if self.on_ready:
            self.on_ready()

    def drain(self, timeout: float = 0.0) -> list[e.Event]:
        return [event for event, _ in self.drain_timed(timeout)]

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        with self._lock:
            events, self._events = self._events, []
        return [(event, 1.5) for event in events]

    def send(self, command: c.Command) -> None:
        self.asked.append(command)
        self.announce(e.Paused(branch=0, step=7, id=command.id, by=command.by))

    def close(self) -> None:
        """Nothing to let go."""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.create()
    folder.write_config({"v": 1})
    return folder


@pytest.fixture
def served(run: RunDirectory) -> Iterator[Source]:
    source = Source()
    server = Server(source, run.socket, str(run.path))
    server.start()
    yield source
    server.close()
    assert not run.socket.exists()


def until(session: SocketSession, kind: type[e.Event]) -> e.Event:
    for _ in range(200):
        for event in session.drain(0.1):
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__} came")


def test_a_command_goes_there_and_its_answer_comes_back(run: RunDirectory, served: Source) -> None:
    session = SocketSession(run, watch=True, by="me")
    assert until(session, e.ClientJoined) == e.ClientJoined(by="me", clients=1)
    session.send(c.Pause(id="x1", by="me"))
    answer = until(session, e.Paused)
    assert isinstance(answer, e.Paused) and (answer.id, answer.step) == ("x1", 7)
    assert served.asked == [c.Pause(id="x1", by="me")]
    other = SocketSession(run, watch=False, by="script")
    assert other.state.status == "paused", "who comes late is told the state"
    other.close()
    session.close()


def test_the_socket_is_private(run: RunDirectory, served: Source) -> None:
    assert stat.S_IMODE(run.socket.stat().st_mode) == 0o600


def raw(run: RunDirectory) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    with address(run.socket) as name:
        connection.connect(name)
    connection.settimeout(10)
    return connection


@pytest.mark.parametrize("data", [b"hello\n", b"\x00" * 100 + b"\n", b'{"v":1}\n', b"x" * (70 << 10),
                                  codec.encode(e.Paused(branch=0, step=1, id="", by="")).encode() + b"\n"],
                         ids=["words", "zeros", "another version", "no end", "an event"])
def test_what_is_not_understood_closes_the_connection(run: RunDirectory, served: Source, data: bytes) -> None:
    with raw(run) as connection, contextlib.suppress(ConnectionError):  # closed with data unread is a reset
        connection.sendall(data)
        while connection.recv(65536):
            pass
    session = SocketSession(run, watch=False, by="me")  # and the server lives
    session.close()
    assert served.asked == []


def test_a_slow_client_is_resynchronised_and_holds_nobody_up(
        run: RunDirectory, served: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_BUFFER", 4096)
    slow, quick = SocketSession(run, watch=False, by="slow"), SocketSession(run, watch=False, by="quick")
    text = "x" * 500
    for i in range(3000):
        served.announce(e.NoteAdded(branch=0, step=i, text=text, id="", by=""))
        if i % 3 == 0:
            quick.drain()
    served.announce(e.StepsDone(branch=0, first_step=41, epoch=0.0, loss=(1.0, 1.0), grad_norm=(1.0, 1.0), every=1,
                                clipped=(0, 0), skipped=(0, 0), lr=(), clip=(), norms={}, seconds=1.0))
    for session in (slow, quick):
        for _ in range(200):
            session.drain(0.1)
            if session.resynchronised and session.state.step == 42:
                break
            served.announce(e.EngineSaid(text="tick"))
        session.close()
    assert slow.resynchronised > 0 and slow.state.step == 42


def test_a_folder_deeper_than_a_socket_name_may_be(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / ("d" * 60) / ("e" * 60) / "run")
    folder.create()
    source = Source()
    server = Server(source, folder.socket, "run")
    server.start()
    session = SocketSession(folder, watch=False, by="me")
    session.close()
    server.close()


def test_nobody_there_is_said_with_what_to_do(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="tuitrain resume"):
        SocketSession(run, watch=False, by="me")
    with pytest.raises(RunError, match="not a run folder"):
        SocketSession(RunDirectory(tmp_path / "nothing"), watch=False, by="me")


def test_a_socket_left_by_a_dead_process_is_replaced(run: RunDirectory) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(run.socket))
    left.close()
    server = Server(Source(), run.socket, "run")
    server.start()
    SocketSession(run, watch=False, by="me").close()
    server.close()


def test_each_of_two_cockpits_sees_which_of_the_two_did_what(run: RunDirectory, served: Source) -> None:
    one = SocketSession(run, watch=True, by="you")
    assert until(one, e.ClientJoined) == e.ClientJoined(by="you", clients=1)
    two = SocketSession(run, watch=True, by="you")
    assert until(one, e.ClientJoined) == e.ClientJoined(by="another", clients=2)
    assert until(two, e.ClientJoined) == e.ClientJoined(by="you", clients=2)
    one.send(c.Pause(id="x1", by="you"))
    assert e.by_of(until(one, e.Paused)) == "you" and e.by_of(until(two, e.Paused)) == "another"
    two.send(c.Pause(id="x2", by="you"))
    assert e.by_of(until(one, e.Paused)) == "another" and e.by_of(until(two, e.Paused)) == "you"
    along = e.KnobChanged(branch=0, step=7, name="clip", old="auto", new=1.0, id="", by="you")
    served.announce(along)  # nothing was asked here, so it goes along with what another asks
    assert e.by_of(until(one, e.KnobChanged)) == "another"
    script = SocketSession(run, watch=False, by="script")
    served.announce(along)
    assert until(script, e.KnobChanged) == along, "a script sees what is in the journal"
    two.close()
    assert until(one, e.ClientLeft) == e.ClientLeft(by="another", clients=1)
    one.close()
    script.close()
