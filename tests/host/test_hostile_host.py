"""A host that lies, dawdles or is another version: who attaches is told so within seconds, and nothing is allocated."""

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuitrain.errors import RunError
from tuitrain.host import client as client_module
from tuitrain.host.address import address
from tuitrain.host.client import SocketSession
from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState

PATIENCE = 1.0


def state(**other: Any) -> dict[str, Any]:
    full = RunState()
    full.fold(e.StepsDone(branch=0, first_step=1, epoch=0.1, loss=(3.0, 2.9), grad_norm=(1.0, 1.0),
                          clipped=(False, False), lr=(0.01, 0.01), norms={}, seconds=0.1, every=1,
                          skipped=(False, False), clip=(1.0, 1.0)))
    return {**full.to_wire(), **other}


def told(wire: Any, version: int = codec.VERSION) -> bytes:
    return codec.seal({"v": version, "kind": "State", "n": 1, "state": wire}).encode() + b"\n"


def raw(text: str) -> bytes:
    return f'{text[:-1]},"crc":{zlib.crc32(text.encode())}}}\n'.encode()


def without(name: str) -> bytes:
    return told({key: value for key, value in state().items() if key != name})


def line(**other: Any) -> bytes:
    [present] = state()["lines"]
    return told(state(lines=[{**present, **other}]))


def history(**other: Any) -> bytes:
    [present] = state()["lines"]
    first, second = present["histories"]
    return line(histories=[{**first, **other}, second])


HOSTILE: dict[str, bytes | None] = {
    "silence": b"",
    "hangs up at once": None,
    "garbage": bytes(range(256)) * 50,
    "garbage lines": b"\x1b[2J\n" * 500,
    "half a line": told(state())[:200],
    "a line without an end": b"x" * (codec.MAX_LINE + 10),
    "another version": told(state(), 99),
    "a hello of another version": codec.seal({"v": 99, "kind": "Hello"}).encode() + b"\n",
    "no state": raw('{"v":1,"kind":"State"}'),
    "state is a list": told([1, 2]),
    "state is null": told(None),
    "capacity of 2e9": history(capacity=2_000_000_000),
    "capacity is odd": history(capacity=511),
    "capacity is text": history(capacity="512x"),
    "capacity is nothing": history(capacity=None),
    "count beyond its buckets": history(count=10**15),
    "width of nothing": history(width=0),
    "width below zero": history(width=-4),
    "lists too short": history(good=[]),
    "lists too long": history(low=[0.0] * 100_000),
    "one history": line(histories=[]),
    "rings of text": line(rings={"loss": ["a"], "grad_norm": [], "clipped": []}),
    "rings missing": line(rings={}),
    "a million groups": line(norms={str(n): [] for n in range(2000)}),
    "story of another shape": told(state(story={"told": 1, "entries": [{"x": 1}]})),
    "health of another shape": told(state(health=[])),
    "speed of another shape": told(state(speed=[1, 2])),
    "validation of another shape": told(state(validation=[[1]])),
    "no lines": told(state(lines=[])),
    "a hundred lines": told(state(lines=state()["lines"] * 100)),
    "forks of another shape": told(state(lineage={"branch": 0, "step": 2, "forks": [[1]]})),
    "another layout": told(state(layout=1)),
    "deep JSON": raw('{"v":1,"kind":"State","state":' + "[" * 20_000 + "]" * 20_000 + "}"),
    "a number of 5,000 digits": raw('{"v":1,"kind":"State","state":' + "9" * 5000 + "}"),
    **{f"no {name}": without(name) for name in ("step", "config", "knobs", "health", "story", "speed", "lineage",
                                                         "layout")},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(client_module, "PATIENCE", PATIENCE)
    folder = RunDirectory(tmp_path / "run")
    folder.create()
    folder.write_config({"v": 1})
    return folder


@contextlib.contextmanager
def host(run: RunDirectory, answer: bytes | None) -> Iterator[None]:
    """Says `answer` to whoever comes, and then nothing more (None: hangs up)."""
    listener = socket.socket(socket.AF_UNIX)
    with address(run.socket) as name:
        listener.bind(name)
    listener.listen(1)
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            if answer is not None:
                connection.sendall(answer)
                done.wait(20)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_waits_for_ever_and_nothing_is_believed(name: str, run: RunDirectory) -> None:
    began = time.monotonic()
    with host(run, HOSTILE[name]), pytest.raises(RunError) as caught:
        SocketSession(run, watch=True, by="me")
    assert time.monotonic() - began < 5 * PATIENCE
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_another_version_is_named_with_what_can_be_done(run: RunDirectory) -> None:
    with host(run, without("knobs")), pytest.raises(RunError, match="another version of tuitrain; attach with"):
        SocketSession(run, watch=True, by="me")


def test_a_host_that_says_nothing_of_use_is_left_at_the_deadline(run: RunDirectory) -> None:
    began = time.monotonic()
    with host(run, b"{}\n" * 10), pytest.raises(RunError):
        SocketSession(run, watch=True, by="me")
    assert PATIENCE * 0.9 < time.monotonic() - began < 5 * PATIENCE


def test_a_newer_hosts_field_is_passed_over(run: RunDirectory) -> None:
    wire = state(mood="bright")
    wire["health"] = {**wire["health"], "temper": 7}
    with host(run, told(wire)):
        session = SocketSession(run, watch=True, by="me")
        assert session.state.step == 2
        session.close()


def test_an_event_and_a_field_of_a_newer_host_are_passed_over_and_the_next_event_is_taken(run: RunDirectory) -> None:
    known = codec.body_of(e.Paused(branch=0, step=2, id="", by="me"), 5.0)
    lines = [{**known, "kind": "MoodChanged", "mood": "bright"}, {**known, "mood": "bright"}]
    with host(run, told(state()) + b"".join(codec.seal(body).encode() + b"\n" for body in lines)):
        session = SocketSession(run, watch=True, by="me")
        found = session.drain_timed(PATIENCE)
        assert not session.closed and found == [(e.Paused(branch=0, step=2, id="", by="me"), 5.0)]
        session.close()


def test_a_full_queue_is_tried_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "is_alive", lambda _: True)
    monkeypatch.setattr(client_module, "CROWDED", 0.3)
    listener = socket.socket(socket.AF_UNIX)
    with address(run.socket) as name:
        listener.bind(name)
    listener.listen(1)
    listener.close()  # refuses from now on
    began = time.monotonic()
    with pytest.raises(RunError, match="being trained but does not answer"):
        SocketSession(run, watch=False, by="me")
    assert 0.3 <= time.monotonic() - began < 3
