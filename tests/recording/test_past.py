"""A long past is read from its index, and from its journal where the two do not fit."""

from pathlib import Path

import pytest

from tuitrain.protocol import events as e
from tuitrain.recording.past import Past
from tuitrain.recording.sessions import Replay
from tuitrain.run import index, journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder
from tuitrain.run.journal import Journal


def steps(first: int, count: int = 10) -> e.StepsDone:
    return e.StepsDone(branch=0, first_step=first, epoch=0.1, loss=(2.0,) * count, grad_norm=(1.0,) * count, every=1,
                       clipped=(0,) * count, skipped=(0,) * count, lr=(0.1,) * count, clip=(1.0,) * count,
                       norms={"head": (1.0,) * count}, seconds=0.1)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def write(run: RunDirectory, first: int, times: int) -> None:
    book = Journal(run.journal)
    for i in range(times):
        book.write(steps(first + 10 * i), time=1000.0 + first + 10 * i)
    book.close()


def keep(run: RunDirectory) -> None:
    with Folder(run.path) as folder:
        Past(run).keep(folder, now=True)


def test_only_what_came_after_the_index_is_read(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, 1, 50)
    keep(run)
    write(run, 501, 3)
    whole = index.load(run)
    assert whole.offset > 0 and whole.digest.step == 500
    starts: list[int] = []
    real = journal.read

    def read(*arguments: object, start: int = 0, **more: object) -> object:
        starts.append(start)
        return real(*arguments, start=start, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("tuitrain.recording.past.journal.read", read)
    past = Past(run)
    assert starts == [whole.offset]
    assert past.state.step == 530 and len(past.state.losses) == 530 and past.offset == run.journal.stat().st_size
    run.index.unlink()
    assert past.state.to_wire() == Past(run).state.to_wire()


@pytest.mark.parametrize("harm", ["other journal", "shorter journal", "damaged index", "no index"])
def test_an_index_that_does_not_fit_is_not_used(run: RunDirectory, harm: str) -> None:
    write(run, 1, 50)
    keep(run)
    match harm:
        case "other journal":
            run.journal.unlink()
            write(run, 1, 20)
            write(run, 401, 40)
        case "shorter journal":
            run.journal.write_bytes(run.journal.read_bytes()[:5000])
        case "damaged index":
            raw = bytearray(run.index.read_bytes())
            raw[len(raw) // 2] ^= 1
            run.index.write_bytes(raw)
        case "no index":
            run.index.unlink()
    expected = [event for event, _ in journal.read(run.journal) if isinstance(event, e.StepsDone)][-1]
    assert Past(run).state.step == expected.first_step + 9


def test_a_replay_opens_without_reading_the_middle(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write(run, 1, 5000)
    first, last = journal.times(run.journal) or (0.0, 0.0)
    assert (first, last) == (1001.0, 1000.0 + 1 + 10 * 4999)
    decoded = []
    real = journal.decode_event
    monkeypatch.setattr(journal, "decode_event", lambda line: decoded.append(1) or real(line))
    Replay(run)
    assert len(decoded) < 500


def test_a_state_of_another_layout_in_the_index_is_made_anew(run: RunDirectory) -> None:
    write(run, 1, 50)
    keep(run)
    kept, expected = index.load(run), Past(run).state.to_wire()
    kept.extra["state"] = {**kept.extra["state"], "layout": 1, "step": 7}
    index.save(run, kept)
    assert Past(run).state.to_wire() == expected and expected["step"] == 500
