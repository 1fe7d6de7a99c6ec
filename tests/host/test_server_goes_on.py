"""No line and no event ends the server's thread: one client is dropped, the others go on."""

import contextlib
import socket
import threading
from typing import Any

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


def test_a_crowd_is_told_one_state_that_was_made_once(
        run: RunDirectory, served: Source, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    made, real, entered, go_on = [], RunState.to_wire, threading.Event(), threading.Event()

    def to_wire(self: RunState) -> dict[str, Any]:
        made.append(1)
        entered.set()
        assert go_on.wait(10)
        return real(self)

    monkeypatch.setattr(RunState, "to_wire", to_wire)
    with contextlib.ExitStack() as crowd:
        for number in range(50):
            client = crowd.enter_context(socket.socket(socket.AF_UNIX))
            with address(run.socket) as name:
                client.connect(name)
            if number == 0:
                assert entered.wait(10)  # the others come while the first is served
        go_on.set()
        SocketSession(run, watch=False, by="me").close()
    assert len(made) <= 2
