"""A run out of its journal: read-only while it lives, replayed afterwards."""

from pathlib import Path

import pytest

from tests.builders import healthy, steps
from tuitrain.cli.main import main
from tuitrain.errors import RunError
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.recording.sessions import GAP, Look, Replay
from tuitrain.run.directory import RunDirectory, host_of, is_alive
from tuitrain.run.journal import Journal
from tuitrain.telemetry.run_state import UNREAD, RunState
from tuitrain.telemetry.session import Tape

BEGAN = 1_700_000_000.0


def write(run: RunDirectory, events: list[e.Event], apart: float = 1.0, begin: float = BEGAN) -> None:
    run.path.mkdir(exist_ok=True)
    journal = Journal(run.journal)
    for i, event in enumerate(events):
        journal.write(event, begin + i * apart)
    journal.close()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    write(folder, healthy()[:-1])
    return folder


def test_a_look_follows_what_is_written_and_asks_nothing(run: RunDirectory) -> None:
    lock = run.lock()
    look = Look(run)
    assert look.state.step == 600 and not look.closed
    with open(run.journal, "ab") as file:
        file.write(b'{"half a line')
    assert look.drain() == []
    with open(run.journal, "ab") as file:
        file.write(b'", damaged}\n')
    write(run, [steps(601, 20)], begin=BEGAN + 100)
    [event] = look.drain()
    assert isinstance(event, e.StepsDone) and event.first_step == 601
    assert look.state.unusable == 1 and any(entry.words == UNREAD for entry in look.state.story.entries)
    with pytest.raises(RunError, match="read-only"):
        look.send(c.Pause(id="1", by="you"))
    write(run, [e.RunEnded(reason="stopped", exit_code=0, branch=0, step=620)], begin=BEGAN + 101)
    look.drain()
    assert look.closed
    lock.release()
    look.close()


def elsewhere(run: RunDirectory) -> None:
    """The run is trained on another machine: its lock says so, and no lock can be seen here."""
    run.lock().release()
    (run.path / "lock").write_text("pid 77 on far-away")


def test_a_look_at_a_run_of_another_machine_goes_on_until_it_says_goodbye(run: RunDirectory) -> None:
    elsewhere(run)
    assert host_of(run) == "far-away" and not is_alive(run)
    look = Look(run)
    look._next = 0.0
    assert not look.drain() and not look.closed and look.elsewhere == "far-away"
    write(run, [steps(601, 20), e.RunEnded(reason="stopped", exit_code=0, branch=0, step=620)], begin=BEGAN + 100)
    assert len(look.drain()) == 2 and look.closed
    look.close()


def test_a_look_at_a_journal_that_was_replaced_begins_anew(run: RunDirectory) -> None:
    elsewhere(run)
    look = Look(run)
    run.journal.rename(run.path / "old")
    write(run, [*healthy()[:3]])
    look._next = 0.0
    assert look.drain() == [] and look.resynchronised == 1 and look.state.step == 100
    look.close()


def test_attach_looks_at_a_run_of_another_machine_and_says_that_it_is_read_only(
        run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_config({"v": 1})
    elsewhere(run)
    run.socket.touch()  # what a shared file system shows of a socket of another machine
    looked = iter([True])
    drain = Look.drain_timed

    def drained(look: Look, timeout: float = 0.0) -> list[tuple[e.Event, float]]:
        if next(looked, False):
            write(run, [steps(601, 20), e.RunEnded(reason="stopped", exit_code=0, branch=0, step=620)])
        return drain(look, timeout)

    monkeypatch.setattr(Look, "drain_timed", drained)
    assert main(["attach", str(run.path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "read-only" in err and "far-away" in err and '"kind":"RunEnded"' in out
    assert main(["attach", str(run.path), "--json"]) == 1
    assert "not running" in capsys.readouterr().err


def test_a_look_at_a_run_whose_process_is_gone_is_closed(run: RunDirectory) -> None:
    look = Look(run)
    assert look.closed and look.state.step == 600
    look.close()


def test_a_replay_plays_stops_hurries_and_jumps_to_the_same_picture(run: RunDirectory) -> None:
    now = [0.0]
    replay = Replay(run, 2.0, clock=lambda: now[0])
    assert isinstance(replay, Tape)
    state = RunState()

    def play(seconds: float) -> None:
        now[0] += seconds
        for event, when in replay.drain_timed():
            state.fold(event, when)

    play(0.0)
    play(2.0)
    assert state.step == 200  # 4 s of the run: what opened it, and four drains of 50 steps
    replay.toggle()
    play(100.0)
    assert state.step == 200 and replay.words.endswith("stopped")
    replay.toggle()
    replay.faster(2.0)
    play(1.0)
    assert state.step == 400 and replay.words.startswith("×4")
    replay.jump(-1.0)
    assert replay.state.step == 0 and replay.resynchronised == 1
    replay.jump(1.0)
    whole = RunState()
    for event, when in Replay(run, 1e6, clock=iter([0.0, 1e6]).__next__).drain_timed():
        whole.fold(event, when)
    assert replay.state.to_wire() == whole.to_wire() and whole.step == 600
    with pytest.raises(RunError, match="replay"):
        replay.send(c.Pause(id="1", by="you"))


def test_a_replay_skips_the_days_between_two_sittings(run: RunDirectory) -> None:
    write(run, [steps(601, 50)], begin=BEGAN + 1e6)
    now = [0.0]
    replay = Replay(run, 1.0, clock=lambda: now[0])
    for _ in range(30):
        now[0] += GAP
        last = replay.drain()
    assert replay.now == BEGAN + 1e6 and last == []


def test_there_must_be_something_to_replay(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to replay"):
        Replay(RunDirectory(tmp_path))
