"""The selftest on a CPU: it passes as it stands, and each kind of fault is found, named and counted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.model.optimizers import Optimizer
from tuitrain.cli.main import main
from tuitrain.engine.snapshot import Snapshot
from tuitrain.experiments import selftest

Patch = pytest.MonkeyPatch


def found(begin: str) -> list[selftest.Check]:
    """The outcome of the checks whose name begins so."""
    torch.set_num_threads(1)
    every = selftest.Selftest("cpu", 3).checks()
    return [selftest.outcome(name, look) for name, look in every if name.startswith(begin)]


def test_it_passes_on_this_cpu_and_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--device", "cpu", "--steps", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tuitrain selftest --device cpu --steps 2" and f"torch {torch.__version__}" in lines[2]
    table = [line for line in lines if line[32:48].strip() in (selftest.OK, selftest.NOT_APPLICABLE)]
    assert len(table) == 31 and all(len(line) <= 120 for line in lines)
    assert [line[32:48].strip() for line in table if line.startswith(("rollback", "resume", "skipped"))] == ["ok"] * 15
    fine = sum(line[32:48].strip() == selftest.OK for line in table)
    assert lines[-1] == f"{fine} ok, 0 failed, {31 - fine} not applicable" and fine > 20


def forgets_the_hidden_state(patch: Patch) -> None:
    whole = Machine.thaw

    def thaw(machine: Machine, frozen: Snapshot) -> None:
        whole(machine, frozen)
        machine.learner.hidden[0].add_(0.1)

    patch.setattr(Machine, "thaw", thaw)


def forgets_the_moments(patch: Patch) -> None:
    patch.setattr(Optimizer, "restore", lambda optimizer, saved: None)


def steps_whatever_comes(patch: Patch) -> None:
    step = Optimizer.step
    patch.setattr(Optimizer, "step", lambda optimizer, withhold: step(optimizer, torch.zeros(())))


def mixes_up_what_it_fetches(patch: Patch) -> None:
    patch.setattr(Snapshot, "arrays", lambda frozen: {name: t.numpy() + 1 for name, t in frozen.tensors.items()})


def refuses(patch: Patch) -> None:
    def step(*_: Any) -> None:
        raise RuntimeError("CUDA error: misaligned address\nCUDA kernel errors might be asynchronous")

    patch.setattr(Learner, "step", step)


def test_a_precision_in_which_no_step_can_be_made_is_left_out_and_told(monkeypatch: Patch) -> None:
    learn = Machine.learn

    def picky(machine: Machine) -> None:
        if machine.config.precision == "bf16":
            raise RuntimeError("no kernel for bf16\nmore words")
        learn(machine)

    monkeypatch.setattr(Machine, "learn", picky)
    [bf16, adam, *_] = [*found("LSTM output, bf16"), *found("rollback, adam")]
    assert (bf16.state, bf16.detail) == (selftest.NOT_APPLICABLE, "not here: no kernel for bf16")
    assert adam.state == selftest.OK and adam.detail.startswith("lstm, gru in fp32: ")


@pytest.mark.parametrize(("fault", "name", "said"), [
    (forgets_the_hidden_state, "rollback, adam", "step 1 differ"),
    (forgets_the_hidden_state, "resume, sgd", "step 1 differ"),
    (forgets_the_moments, "resume, muon", "differ"),
    (steps_whatever_comes, "skipped step, adam", "step 1 was skipped"),
    (mixes_up_what_it_fetches, "snapshot fetched", "differs from the snapshot"),
    (refuses, "the same run twice", "RuntimeError: CUDA error: misaligned address"),
    (refuses, "rollback, adam", "RuntimeError: CUDA error: misaligned address")])
def test_a_fault_is_found_and_named(monkeypatch: Patch, fault: Callable[[Patch], None], name: str,
                                    said: str) -> None:
    fault(monkeypatch)
    checks = found(name)
    assert checks and all(check.state == selftest.FAILED and said in check.detail for check in checks), checks


def test_a_failed_check_is_the_exit_code(monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(selftest, "run", lambda device, steps: iter([selftest.Check("x", selftest.FAILED, "why")]))
    assert main(["selftest", "--device", "cpu"]) == 1
    assert "x                               failed          why" in capsys.readouterr().out


def test_an_optimizer_repeats_if_both_its_rollback_and_its_resume_do() -> None:
    seen = [selftest.Check(f"{what}, {name}", state, "") for what, name, state in (
        ("rollback", "adam", "ok"), ("resume", "adam", "ok"), ("rollback", "sgd", "ok"), ("resume", "sgd", "failed"))]
    assert selftest.repeated(seen) == {("lstm", "adam"), ("gru", "adam")}


@pytest.mark.parametrize(("words", "said"), [
    (["--steps", "0"], "1 or more"), (["--device", "tpu"], "choose one of"),
                                             (["--device", "cuda:9"], "use --device cpu")])
def test_what_cannot_be_tested(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", *words]) == 2
    assert said in capsys.readouterr().err
