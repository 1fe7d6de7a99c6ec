"""A watched loop: its numbers are told, it obeys between two steps, and it learns the same as without anybody."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from tests.watch.loops import Loop, of_kind, same, told, who
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory, is_alive


@pytest.mark.parametrize("clip", [0.5, None])
def test_a_loop_learns_bit_for_bit_what_it_learns_alone(tmp_path: Path, clip: float | None) -> None:
    alone = Loop(clip=clip).run(40)
    state = torch.get_rng_state()
    watched = Loop(clip=clip).watch(tmp_path / "r", snapshot_every=5, checkpoint_every=7)
    watched.pilot.evaluate(lambda: watched.model.eval()(torch.rand(2, 4)).sum(), every=3)
    watched.run(40)
    assert torch.equal(torch.get_rng_state(), state), "the watching drew random numbers"
    watched.pilot.close()
    assert watched.losses == alone.losses
    assert same(watched.weights(), alone.weights())


def test_every_step_is_in_the_journal_with_the_numbers_the_loop_had(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(30)
    loop.pilot.close()
    events = told(tmp_path / "r")
    assert isinstance(events[0], e.RunStarted) and isinstance(events[-1], e.RunEnded)
    losses = [loss for done in of_kind(events, e.StepsDone) for loss in done.loss]
    assert losses == pytest.approx(loop.losses, rel=1e-6)
    assert events[-1].reason == "finished" and events[-1].step == 30
    norms = [norm for done in of_kind(events, e.StepsDone) for norm in done.grad_norm]
    assert len(norms) == 30 and all(norm > 0 for norm in norms)
    groups = {name for done in of_kind(events, e.StepsDone) for name in done.norms}
    assert groups == {"0", "2", "4"}


def test_a_stop_makes_step_return_false_and_ends_the_run_with_its_last_state(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(5)
    loop.ask(c.AddNote(text="that will do", **who()), c.Stop(**who("s")))
    loop.run(100)
    assert len(loop.losses) == 6
    assert not loop.pilot.live and not loop.pilot.step(1.0), "it stays stopped"
    events = told(tmp_path / "r")
    assert [note.text for note in of_kind(events, e.NoteAdded)] == ["that will do"]
    assert (events[-1].reason, events[-1].id, events[-1].step) == ("stopped", "s", 6)
    assert [saved.step for saved in of_kind(events, e.CheckpointSaved)] == [6]
    assert not is_alive(RunDirectory(tmp_path / "r"))


def test_a_pause_waits_inside_step_until_somebody_goes_on(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(3)
    feed = loop.pilot._outlet.feed()
    loop.ask(c.Pause(**who("p")))

    def go_on() -> None:
        while not any(isinstance(event, e.Paused) for event in feed.drain(1.0)):
            pass
        assert len(loop.losses) == 4, "the loop went on while paused"
        loop.ask(c.AddNote(text="still here", **who("n")), c.Continue(**who("c")))

    other = threading.Thread(target=go_on)
    other.start()
    loop.run(3)
    other.join()
    loop.pilot.close()
    assert len(loop.losses) == 6
    kinds = [type(event).__name__ for event in told(tmp_path / "r")]
    assert kinds.index("Paused") < kinds.index("NoteAdded") < kinds.index("Continued")


def test_what_a_loop_cannot_do_is_refused_with_the_call_that_would_do_it(tmp_path: Path) -> None:
    loop = Loop(clip=None).watch(tmp_path / "r").run(1)
    loop.ask(c.DrawSample(**who("a")), c.SetKnob(name="clip", value=1.0, **who("b")), c.LookInside(**who("d")))
    loop.run(1)
    loop.pilot.close()
    refused = {event.id: event.reason for event in of_kind(told(tmp_path / "r"), e.CommandRefused)}
    assert refused.keys() == {"a", "b", "d"}
    assert "pilot.sample" in refused["a"] and "pilot.clip_grad_norm_" in refused["b"]


def test_importing_tuitrain_loads_no_torch() -> None:
    code = "import sys, tuitrain; assert 'torch' not in sys.modules; tuitrain.watch; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
