"""Whatever goes wrong behind the pilot, the loop ends with the same weights as without it; its end is told."""

import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watch.loops import Loop, of_kind, same, told, who
from tuitrain.engine.orders import Orders
from tuitrain.engine.worker import Announcer
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory, is_alive
from tuitrain.watching.asides import Interval
from tuitrain.watching.loop import Loop as Between
from tuitrain.watching.numbers import Numbers
from tuitrain.watching.recorder import Recorder
from tuitrain.watching.report import Reporter
from tuitrain.watching.subject import Subject

STEPS = 30


@pytest.fixture
def alone() -> Loop:
    return Loop().run(STEPS)


PARTS = [(Recorder, "loss"), (Recorder, "threshold"), (Recorder, "clipped"), (Recorder, "before"), (Recorder, "after"),
         (Recorder, "close_step"), (Numbers, "drain"), (Reporter, "flush"), (Subject, "freeze"), (Subject, "absorb"),
         (Between, "between"), (Orders, "obey"), (Interval, "due"), (Announcer, "announce")]


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=[f"{kind.__name__}.{name}" for kind, name in PARTS])
def test_a_mistake_of_ours_ends_the_watching_with_one_line_and_nothing_else(
        kind: type, name: str, alone: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tuitrain.watching.report.PERIOD", 0.0)  # what goes by the clock happens at each step
    loop = Loop().watch(tmp_path / "r", checkpoint_every=4, snapshot_every=3)
    loop.pilot.evaluate(lambda: 1.0, every=5)
    before = getattr(kind, name)
    loop.run(10)
    loop.ask(c.SetKnob(name="clip", value=loop.clip, **who()))
    capsys.readouterr()

    def fails(*_: object, **__: object) -> object:
        monkeypatch.setattr(kind, name, before)  # a second time it works: it must not be asked again
        raise RuntimeError("a mistake")

    monkeypatch.setattr(kind, name, fails)
    loop.run(STEPS - 10)
    lines = capsys.readouterr().err.splitlines()
    if kind is Announcer:
        loop.pilot.close()
        lines = lines or capsys.readouterr().err.splitlines()
    else:
        assert not loop.pilot.live
    assert len(lines) <= 1 and all("training goes on" in line and "a mistake" in line for line in lines)
    assert len(loop.losses) == STEPS and loop.losses == alone.losses
    assert same(loop.weights(), alone.weights())
    assert loop.optimizer.param_groups[0]["lr"] == 1e-2
    assert not is_alive(RunDirectory(tmp_path / "r"))


def test_a_mistake_in_the_scripts_own_functions_ends_those(alone: Loop, tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r")
    loop.pilot.evaluate(lambda: 1 / 0, every=3)
    loop.pilot.sample(lambda: object(), every=4)
    loop.run(STEPS).pilot.close()
    assert same(loop.weights(), alone.weights())
    warnings = [said.text for said in of_kind(told(tmp_path / "r"), e.EngineSaid)]
    assert [("evaluation" in w, "sample" in w) for w in warnings] == [(True, False), (False, True)]


def test_the_run_folder_may_be_deleted_under_it(alone: Loop, tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r", checkpoint_every=5).run(10)
    shutil.rmtree(tmp_path / "r")
    loop.run(STEPS - 10).pilot.close()
    assert same(loop.weights(), alone.weights()) and not (tmp_path / "r").exists()


@pytest.mark.parametrize("place", ["line-before-write", "tensors-before-open", "mark-before-open"])
def test_a_full_disk_does_not_slow_or_stop_it(
        place: str, alone: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop().watch(tmp_path / "r", checkpoint_every=5).run(8)
    monkeypatch.setenv("TUITRAIN_FULL", place)
    loop.run(STEPS - 8)
    assert loop.pilot.live and same(loop.weights(), alone.weights())
    monkeypatch.delenv("TUITRAIN_FULL")
    loop.pilot.close()
    events = told(tmp_path / "r")
    assert isinstance(events[-1], e.RunEnded) and events[-1].reason == "finished"
    assert sum(len(done.loss) for done in of_kind(events, e.StepsDone)) == STEPS, "what waited was written in the end"


def test_its_socket_may_die(alone: Loop, tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(5)
    loop.pilot._host._server.close()
    loop.run(STEPS - 5).pilot.close()
    assert same(loop.weights(), alone.weights())


SCRIPT = """
import sys, torch, tuitrain
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
pilot = tuitrain.watch(model, optimizer, run={run!r})
for step in range({steps}):
    loss = model(torch.randn(4, 2)).square().mean()
    loss.backward(); optimizer.step(); optimizer.zero_grad()
    pilot.step(loss)
    if step == 2:
        {act}
print("the script's own end")
"""
ENDS = {"pass": ("finished", 0, 0), "raise ValueError('of mine')": ("crashed", 1, 1),
        "sys.exit(4)": ("ended by the script", 4, 4),
        "exec('try: sys.exit(5)\\nexcept SystemExit: pass')": ("finished", 0, 0),
        "raise SystemExit(3)": ("ended by the script", 0, 3),  # Python does not tell the code of such an exit
        "exec('try: raise SystemExit(3)\\nexcept SystemExit: pass')": ("finished", 0, 0),
        "raise KeyboardInterrupt": ("interrupted", 130, -2)}


@pytest.mark.parametrize("act", ENDS)
def test_however_a_script_ends_its_run_ends_with_that_reason(act: str, tmp_path: Path) -> None:
    reason, code, own = ENDS[act]
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(run=str(tmp_path / "r"), steps=5, act=act)],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == own, done.stderr
    events = told(tmp_path / "r")
    assert isinstance(events[-1], e.RunEnded)
    assert events[-1].reason.startswith(reason) and events[-1].exit_code == code
    assert bool(of_kind(events, e.CheckpointSaved)) == (reason != "crashed"), "what crashed is not saved, all else is"
    assert not is_alive(RunDirectory(tmp_path / "r"))


@pytest.mark.parametrize(("code", "reason", "recorded"), [
    (None, "finished", 0), (0, "finished", 0), ("no more data", "ended by the script", 1)])
def test_the_exit_code_of_a_script_is_that_of_its_run(
        code: object, reason: str, recorded: int, tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(2)
    with pytest.raises(SystemExit), loop.pilot:
        sys.exit(code)  # type: ignore[arg-type]
    end = told(tmp_path / "r")[-1]
    assert isinstance(end, e.RunEnded) and (end.reason, end.exit_code) == (reason, recorded)


def test_the_scripts_signals_are_its_own(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    loop = Loop().watch(tmp_path / "r").run(2)
    assert {number: signal.getsignal(number) for number in before} == before
    loop.pilot.close()


def test_what_cannot_be_meant_is_said_at_once(tmp_path: Path) -> None:
    import torch

    import tuitrain
    from tuitrain.errors import UsageError

    loop = Loop()
    for how, words in (({"guard": "panic"}, "guard"), ({"total_steps": -1}, "total_steps"),
                       ({"groups": {"x": "nothing"}}, "no parameter"), ({"checkpoint_every": "soon"}, "checkpoint")):
        with pytest.raises(UsageError, match=words):
            loop.watch(tmp_path / "r", **how)
        assert not (tmp_path / "r").exists(), how
    with pytest.raises(UsageError, match="ModuleList"):
        tuitrain.watch([torch.nn.Linear(1, 1)], loop.optimizer, run=tmp_path / "r")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_its_server_may_die_of_a_mistake(alone: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop().watch(tmp_path / "r").run(5)
    server = loop.pilot._host._server

    def dies(*_: object) -> None:
        raise GeneratorExit  # no Exception, so that it ends the thread

    monkeypatch.setattr(server, "_publish", dies)
    server._wake()
    server._thread.join(60)
    assert not server._thread.is_alive()
    for left in (server._selector, server._listener, server._wake_in, server._wake_out):
        left.close()
    loop.run(STEPS - 5).pilot.close()
    assert same(loop.weights(), alone.weights())
    assert of_kind(told(tmp_path / "r"), e.RunEnded)[0].reason == "finished"


def test_the_guard_rolls_a_broken_loop_back_and_the_loop_goes_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuitrain.watching.report.PERIOD", 0.0)
    loop = Loop().watch(tmp_path / "r", guard="rollback", snapshot_every=5).run(40)
    for parameter in loop.model.parameters():
        parameter.data.fill_(float("nan"))
    deadline = time.monotonic() + 120
    while not loop.pilot._loop.subject.progress.branch and time.monotonic() < deadline:
        loop.step()  # the guard decides in another thread
    loop.run(3)
    assert all(math.isfinite(loss) for loss in loop.losses[-3:])
    loop.pilot.close()
    [back] = of_kind(told(tmp_path / "r"), e.RolledBack)
    assert back.by == "guard" and back.to_step <= 40


@pytest.mark.parametrize("registers", [True, False])
def test_a_resume_is_called_exact_only_with_a_stateful_loader(registers: bool, tmp_path: Path) -> None:
    class Loader:
        at = 0

        def __iter__(self) -> Iterator[int]:
            return iter(range(self.at, 100))

        def state_dict(self) -> dict[str, int]:
            return {"at": self.at}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.at = state["at"]

    for resumes, at in ((False, 7), (True, 0)):
        loop, loader = Loop().watch(tmp_path / "r", resume=resumes), Loader()
        if registers:
            loop.pilot.register("loader", loader)
        loader.at = loader.at or at
        loop.run(3).pilot.close()
    assert loader.at == (7 if registers else 0)
    [resumed] = of_kind(told(tmp_path / "r"), e.RunResumed)
    assert resumed.exact is registers
