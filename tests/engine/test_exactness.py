"""The same losses and the same parameters, bit for bit, after a rollback and after a resume."""

import dataclasses
from collections.abc import Callable

import pytest

from tests.conftest import Run
from tuitrain.engine import snapshot
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.checkpoints import params_hash

CASES = [
    {"loss": "all"},
    {"loss": "last", "stride": 3},
    {"loss": "all", "dropout": 0.2},
    {"loss": "last", "stride": 2, "dropout": 0.3, "optimizer": "adamw", "weight_decay": 0.01},
    {"optimizer": "rmsprop", "lr_schedule": "step", "lr_decay_every": 0.05},
    {"optimizer": "sgd", "lr_schedule": "cosine", "steps": 100},
    {"optimizer": "muon", "lr_schedule": "linear", "steps": 100, "warmup": 7},
    {"lr_schedule": "plateau", "evaluate_every": 7, "lr_patience": 1},
    {"embedding": "onehot", "clip_kind": "element", "init": "uniform"},
    {"cell": "gru", "dropout": 0.2},
    {"cell": "gru", "optimizer": "muon", "loss": "last", "stride": 3},
]


def hash_of(run: Run) -> str:
    return params_hash({n: t.numpy() for n, t in run.machine.freeze().tensors.items()})


@pytest.mark.parametrize("large", [False, True], ids=["heap", "block"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rollback_replays_bit_for_bit(start: Callable[..., Run], case: dict[str, object], large: bool,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    if large:  # a copy of a model of any real size lies in one block
        monkeypatch.setattr(snapshot, "LARGE", 1)
    run = start(**case)
    run.to_step(60)
    run.events += list(run.trainer.reporter.flush())
    first, tip = run.losses(), hash_of(run)
    back = run.answer(c.Rollback, to=25)
    # The snapshot of step 20; where 21 was the best until then, its checkpoint if that is on disk by now.
    assert isinstance(back, e.RolledBack) and back.to_step in (20, 21) and back.branch == 1
    run.to_step(60)
    run.events += list(run.trainer.reporter.flush())
    again = run.losses(branch=1)
    assert again == {step: first[step] for step in range(back.to_step + 1, 61)}
    assert hash_of(run) == tip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_resumed_run_is_the_run_that_was_not_stopped(
        start: Callable[..., Run], resume: Callable[..., Run], case: dict[str, object]) -> None:
    case = {"steps": 0, **case}

    def begin(name: str) -> Run:
        run = start(run=name, **case)
        run.to_step(15)
        run.answer(c.ScaleKnob, name="lr", factor=0.5)
        run.to_step(30)
        return run

    # One after the other: torch has one generator per process.
    whole = begin("whole")
    whole.to_step(70)
    whole.events += list(whole.trainer.reporter.flush())
    tip = hash_of(whole)
    cut = begin("cut")
    ended = cut.stop()
    assert ended.reason == "stopped"
    at = cut.machine.progress.step
    again = resume(cut.folder)
    assert again.of(e.RunResumed)[0].exact and again.machine.progress.step == at
    assert again.of(e.RunResumed)[0].parent is None, "no branch was opened"
    assert again.machine.progress.branch == 0
    again.to_step(70)
    again.events += list(again.trainer.reporter.flush())
    told = again.losses()
    assert min(told) == at + 1 and told == {step: whole.losses()[step] for step in told}
    assert hash_of(again) == tip


def test_a_pending_landing_and_the_horizon_survive(start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    run = start()
    run.to_step(10)
    run.answer(c.Land, steps=50)
    run.to_step(20)
    lr = run.machine.lr_in_force
    assert lr < 0.01
    run.stop()
    again = resume(run.folder, steps=500)
    at = again.machine.progress.step
    assert again.machine.schedule.landing and again.machine.knobs.steps == 500
    assert again.machine.lr_in_force == pytest.approx(0.01 * max(0.01, 1 - 0.99 * (at + 1 - 10) / 50))


def test_a_journal_beyond_the_checkpoint_opens_a_branch(
        start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    from tuitrain.run.journal import Journal

    run = start()
    run.to_step(10)
    run.stop()
    at = run.machine.progress.step
    journal = Journal(run.folder.journal)
    journal.write(dataclasses.replace(run.of(e.StepsDone)[-1], first_step=at + 1))
    journal.close()
    again = resume(run.folder)
    assert (again.machine.progress.branch, again.machine.progress.step) == (1, at)
    assert again.machine.progress.lineage == [[0, at]] and again.of(e.RunResumed)[0].parent == 0


def test_snapshots_are_not_changed_by_what_comes_after(start: Callable[..., Run]) -> None:
    run = start()
    run.to_step(10)
    snapshot = run.machine.freeze()
    before = {n: t.clone() for n, t in snapshot.tensors.items()}
    run.to_step(20)
    assert all((before[n] == t).all() for n, t in snapshot.tensors.items())
