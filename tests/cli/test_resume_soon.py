"""`resume` right after the end: the process that has said goodbye is given time to let go of the folder."""

import threading
from pathlib import Path

import pytest

from tuitrain.cli.resume import _locked
from tuitrain.errors import RunError
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal

ENDED = e.RunEnded(reason="stopped", exit_code=0, branch=0, step=9)
LEFT = e.ClientLeft(by="you", clients=0)
NOTE = e.NoteAdded(branch=0, step=9, text="x", id="", by="me")
STEPS = e.StepsDone(branch=0, first_step=1, epoch=0.1, loss=(1.0,), grad_norm=(1.0,), every=1, clipped=(0,),
                    skipped=(0,), lr=(0.1,), clip=(1.0,), norms={}, seconds=0.1)


def told(tmp_path: Path, *events: e.Event) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    book = Journal(run.journal)
    for event in events:
        book.write(event)
    book.close()
    book.write(NOTE)  # a client that leaves after the end
    return run


@pytest.mark.parametrize("events", [(STEPS, ENDED), (STEPS, ENDED, LEFT)])
def test_a_run_that_has_ended_is_waited_for(tmp_path: Path, events: tuple[e.Event, ...]) -> None:
    run = told(tmp_path, *events)
    held = run.lock()
    threading.Timer(0.4, held.release).start()
    _locked(run).release()
    assert len(list(journal.read(run.journal))) == len(events)


@pytest.mark.parametrize("events", [(STEPS,), (), (ENDED, STEPS), (STEPS, NOTE)])
def test_a_run_that_is_being_trained_is_refused_at_once(tmp_path: Path, events: tuple[e.Event, ...],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    run = told(tmp_path, *events)
    held = run.lock()
    monkeypatch.setattr("tuitrain.cli.resume.time.sleep", lambda seconds: seconds < 0.05 or pytest.fail("it waited"))
    with pytest.raises(RunError, match="is being trained by pid"):
        _locked(run)
    held.release()
