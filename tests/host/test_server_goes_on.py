"""No line and no event ends the server's thread: one client is dropped, the others go on."""

import contextlib
import socket

import pytest

from tests.host.test_socket import Source, run, served, until  # noqa: F401 - fixtures
from tuitrain.host.address import address
from tuitrain.host.client import SocketSession
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState


def test_a_command_that_is_too_much_costs_its_client_alone(
        run: RunDirectory, served: Source, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
        capsys: pytest.CaptureFixture[str]) -> None:
    ask = served.send

    def send(command: c.Command) -> None:
        if command.id == "bad":
            raise RecursionError("too deep")
        ask(command)

    monkeypatch.setattr(served, "send", send)
    good, bad = SocketSession(run, watch=False, by="good"), SocketSession(run, watch=False, by="bad")
    for _ in range(3):
        with contextlib.suppress(Exception):
            bad.send(c.Pause(id="bad", by="bad"))
    for _ in range(100):
        bad.drain(0.1)
        if bad.closed:
            break
    assert bad.closed
    bad.close()
    good.send(c.Pause(id="fine", by="good"))
    assert until(good, e.Paused) and not good.closed
    assert capsys.readouterr().err.count("the server goes on") == 1
    good.close()


def test_an_event_that_cannot_be_told_is_passed_over(
        run: RunDirectory, served: Source, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
        capsys: pytest.CaptureFixture[str]) -> None:
    session = SocketSession(run, watch=False, by="me")
    fold = RunState.fold

    def broken(self: RunState, event: e.Event, when: float | None = None) -> None:
        if isinstance(event, e.NoteAdded):
            raise OverflowError("beyond")
        fold(self, event, when)

    monkeypatch.setattr(RunState, "fold", broken)
    for _ in range(3):
        served.announce(e.NoteAdded(branch=0, step=1, id="", by="", text="x"))
    session.send(c.Pause(id="fine", by="me"))
    assert until(session, e.Paused)
    assert capsys.readouterr().err.count("the server goes on") == 1
    session.close()


def test_two_hundred_at_once_do_not_keep_one_out(run: RunDirectory, served: Source) -> None:  # noqa: F811
    crowd = []
    for _ in range(200):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        with address(run.socket) as name:
            client.connect(name)  # raises if the queue is full
        crowd.append(client)
    for client in crowd:
        client.close()
    session = SocketSession(run, watch=False, by="me")
    session.send(c.Pause(id="fine", by="me"))
    assert until(session, e.Paused)
    session.close()
