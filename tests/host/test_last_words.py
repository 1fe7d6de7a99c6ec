"""What a run says last reaches those who asked for it, however close to the end of the server it is said."""

from pathlib import Path

import pytest

from tests.host.test_socket import Source
from tuitrain.cli.main import main
from tuitrain.host.client import SocketSession
from tuitrain.host.server import Server
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState


class EndsWhileServed(Source):
    """A run that ends, and whose server is told to close, just after the server has looked for events."""

    server: Server
    armed = False

    def send(self, command: c.Command) -> None:
        self.armed, self._id = True, command.id

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        events = super().drain_timed(timeout)
        if self.armed:
            self.armed = False
            self.announce(e.RunEnded(reason="stopped", exit_code=0, branch=0, step=9, id=self._id, by="me"))
            self.server._closing.set()
        return events


@pytest.fixture
def ending(tmp_path: Path) -> EndsWhileServed:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_config({"v": 1})
    source = EndsWhileServed()
    source.server = Server(source, run.socket, "run")
    source.server.start()
    return source


def test_an_event_between_the_last_look_and_the_close_is_delivered(ending: EndsWhileServed, tmp_path: Path) -> None:
    session = SocketSession(RunDirectory(tmp_path / "run"), watch=False, by="me")
    session.send(c.Stop(id="s1", by="me"))
    told: list[e.Event] = []
    while not session.closed:
        told += session.drain(1.0)
    session.close()
    ending.server.close()
    assert [x.id for x in told if isinstance(x, e.RunEnded)] == ["s1"]


def test_stop_succeeds_although_the_process_is_gone_at_once(
        ending: EndsWhileServed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", str(tmp_path / "run"), "stop"]) == 0
    assert "step 9: stopped" in capsys.readouterr().out
    ending.server.close()


@pytest.mark.parametrize(("ended", "code"), [("finished", 0), ("crashed", 1)])
def test_stop_of_a_run_that_ends_of_itself(ended: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    class Far(SocketSession):
        def __init__(self, *words: object, **more: object) -> None:
            self.state, self.closed = RunState(), True

        def send(self, command: c.Command) -> None:
            """Nobody listens any more."""

        def drain(self, timeout: float = 0.0) -> list[e.Event]:
            return [e.RunEnded(reason=ended, exit_code=code, branch=0, step=3)]

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr("tuitrain.host.client.SocketSession", Far)
    assert main(["send", str(tmp_path), "stop"]) == code
    assert ended in capsys.readouterr().out


def test_who_waits_is_told_how_far_the_answer_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    class Far(SocketSession):
        def __init__(self, *words: object, **more: object) -> None:
            self.state, self.closed = RunState(), False

        def send(self, command: c.Command) -> None:
            self.asked = command.id

        def drain(self, timeout: float = 0.0) -> list[e.Event]:
            others = e.WorkAdvanced(what="validation", done=1, of=2, answers="another's")
            mine = e.WorkAdvanced(what="samples", done=30, of=120, answers=self.asked)
            return [others, mine, mine, e.SampleDrawn(branch=0, step=3, temperature=1.0, prompt="", text="It was",
                                                      health={}, id=self.asked, by="me")]

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr("tuitrain.host.client.SocketSession", Far)
    assert main(["send", str(tmp_path), "sample"]) == 0
    out, err = capsys.readouterr()
    assert out == "step 3: sample at temperature 1:\nIt was\n" and err == "tuitrain: samples 25% …\n"
