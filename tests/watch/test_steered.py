"""What is asked of a watched loop changes exactly what was asked, whatever scheduler, scaler or grouping it has."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import tuitrain
from tests.watch.loops import Loop, at_steps, of_kind, same, told, who
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e

SCHEDULERS = {
    "none": lambda optimizer: None,
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=50),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_halved_rate_is_half_of_what_the_scheduler_gives_at_each_step(name: str, tmp_path: Path) -> None:
    def rates(folder: Path, halved: bool) -> tuple[list[float], dict[int, float]]:
        loop = Loop()
        loop.scheduler = SCHEDULERS[name](loop.optimizer)
        used: list[float] = []
        loop.watch(folder)
        loop.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
        loop.run(5)
        if halved:
            loop.ask(c.ScaleKnob(name="lr", factor=0.5, **who()))
        loop.run(1)  # it is obeyed after this step
        loop.run(20)
        loop.pilot.close()
        journaled: dict[int, float] = {}  # of fewer steps, where a busy machine leaves no time for each
        for done in of_kind(told(folder), e.StepsDone):
            steps = range(done.first_step, done.first_step + len(done.loss))
            journaled.update(zip((s for s in steps if (s - 1) % done.every == 0), done.lr, strict=True))
        return used, journaled

    plain, halved = rates(tmp_path / "a", False), rates(tmp_path / "b", True)
    assert halved[0][:6] == plain[0][:6]
    assert halved[0][6:] == pytest.approx([rate / 2 for rate in plain[0][6:]])
    assert 1 in halved[1] and halved[1] == pytest.approx(
        {step: halved[0][step - 1] for step in halved[1]}, rel=1e-6), "the journal has the rates that were used"


def test_the_loop_sees_its_own_rates_all_the_time(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(1)
    loop.ask(c.SetKnob(name="lr", value=0.5, **who()))
    loop.run(2)
    assert loop.optimizer.param_groups[0]["lr"] == 1e-2


def test_the_clip_is_the_loops_until_it_is_turned_and_then_the_knobs(tmp_path: Path) -> None:
    loop = Loop(clip=0.5).watch(tmp_path / "r")
    seen: list[float] = []

    def norm(*_: Any) -> None:
        seen.append(float(nn.utils.get_total_norm([p.grad for p in loop.model.parameters() if p.grad is not None])))

    loop.optimizer.register_step_pre_hook(norm)
    loop.run(3)
    assert 0.4 < max(seen) <= 0.5001
    loop.ask(c.SetKnob(name="clip", value=0.01, **who()))
    loop.run(3)
    assert max(seen[4:]) <= 0.01001
    loop.ask(c.SetKnob(name="clip", value=0.0, **who()))
    loop.run(3)
    assert max(seen[7:]) > 0.5, "off is off"
    loop.ask(c.Undo(**who()))  # of both turns: they came within a second
    loop.run(1)
    loop.clip = 0.25  # the loop's own schedule counts again
    loop.run(3)
    assert max(seen[10:]) <= 0.25001
    loop.pilot.close()
    turned = [(k.new, k.by) for k in of_kind(told(tmp_path / "r"), e.KnobChanged) if k.name == "clip"]
    assert turned == [(0.01, "you"), (0.0, "you"), (0.25, "script")]


class Average:
    """Something with a state of its own, as an average of weights has."""

    def __init__(self) -> None:
        self.numbers: dict[str, Any] = {"count": 0, "mean": torch.zeros(3, dtype=torch.bfloat16), (1, "a"): 2.5,
                                        "none": None, "big": 2**80, "nan": float("nan")}

    def state_dict(self) -> dict[Any, Any]:
        return self.numbers

    def load_state_dict(self, state: dict[Any, Any]) -> None:
        self.numbers = state


def test_a_rollback_restores_everything_but_the_data_and_says_so(tmp_path: Path) -> None:
    loop = Loop()
    loop.scheduler = lr_scheduler.OneCycleLR(loop.optimizer, 0.01, total_steps=100)
    loop.watch(tmp_path / "r")
    average = Average()
    loop.pilot.register("average", average)
    loop.run(10)
    loop.ask(c.TakeSnapshot(**who("s")))
    average.numbers["count"], average.numbers["mean"] = 7, torch.ones(3, dtype=torch.bfloat16)
    loop.run(1)
    there = (loop.weights(), loop.scheduler.state_dict()["last_epoch"], torch.rand(2), random.random(),
             np.random.rand())
    moments = [t.clone() for state in loop.optimizer.state.values() for t in state.values()]
    held = next(iter(loop.optimizer.state.values()))["exp_avg"]
    loop.run(7)
    average.numbers["count"] = 99
    loop.ask(c.Rollback(to=11, **who("r")))
    data = loop.data.get_state()
    loop.step()
    assert loop.pilot.steps == 11
    back = (loop.weights(), loop.scheduler.state_dict()["last_epoch"], torch.rand(2), random.random(), np.random.rand())
    assert same(back[0], there[0]) and back[1] == there[1]
    assert torch.equal(back[2], there[2]) and back[3:] == there[3:]
    assert all(torch.equal(a, b) for a, b in zip(
        moments, [t for s in loop.optimizer.state.values() for t in s.values()], strict=True))
    assert next(iter(loop.optimizer.state.values()))["exp_avg"] is held, "in place, for what is compiled or captured"
    assert average.numbers["count"] == 7 and average.numbers["big"] == 2**80 and average.numbers[1, "a"] == 2.5
    assert average.numbers["mean"].dtype == torch.bfloat16 and average.numbers["mean"].sum() == 3
    assert not torch.equal(loop.data.get_state(), data), "the data went on"
    loop.run(3)
    loop.ask(c.Undo(**who("u")))
    loop.run(1)
    assert loop.pilot.steps == 19
    loop.run(2).pilot.close()
    events = told(tmp_path / "r")
    [back_at] = of_kind(events, e.RolledBack)
    assert (back_at.from_step, back_at.to_step, back_at.branch) == (19, 11, 1)
    words = [said.text for said in of_kind(events, e.EngineSaid)]
    assert "weights, optimizer and RNG as at step 11; the data goes on" in words
    assert not any("exact" in word for word in words)


def test_a_run_goes_on_from_its_checkpoint_with_the_same_next_steps(tmp_path: Path) -> None:
    first = Loop().watch(tmp_path / "r").run(12)
    first.pilot.close()
    data, after = first.data.get_state(), first.pilot
    first.pilot = None
    first.run(5)
    assert not after.live
    again = Loop(seed=5)
    again.data.set_state(data)
    again.watch(tmp_path / "r", resume=True)
    assert again.pilot.steps == 12
    again.run(5)
    again.pilot.close()
    assert again.losses == first.losses[-5:] and same(again.weights(), first.weights())
    [resumed] = of_kind(told(tmp_path / "r"), e.RunResumed)
    assert resumed.step == 12 and not resumed.exact and "data" in resumed.why_not


def test_resume_without_a_run_begins_one_and_a_run_without_resume_is_not_overwritten(tmp_path: Path) -> None:
    Loop().watch(tmp_path / "r", resume=True).run(2).pilot.close()
    with pytest.raises(tuitrain_error(), match="is a run already"):
        Loop().watch(tmp_path / "r")


def tuitrain_error() -> type[Exception]:
    from tuitrain.errors import TuitrainError

    return TuitrainError


def test_parts_of_a_step_count_as_one_whether_step_is_called_for_each_or_once(tmp_path: Path) -> None:
    for name, each in (("each", True), ("once", False)):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        pilot = tuitrain.watch(model, optimizer, run=tmp_path / name)
        losses = []
        for part in range(12):
            loss = model(torch.randn(8, 3)).square().mean()
            (loss / 4).backward()
            losses.append(loss.item())
            if part % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            if each or part % 4 == 3:
                pilot.step(loss)
        pilot.close()
        done = [loss for d in of_kind(told(tmp_path / name), e.StepsDone) for loss in d.loss]
        assert len(done) == 3
        assert done == pytest.approx([np.mean(losses[i:i + 4]) if each else losses[i + 3] for i in (0, 4, 8)])


def test_steps_that_a_scaler_leaves_out_are_no_alarm_and_scaled_gradients_are_told_unscaled(tmp_path: Path) -> None:
    for fused in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.Adam(model.parameters(), 0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        folder = tmp_path / f"{fused}"
        pilot = tuitrain.watch(model, optimizer, run=folder)
        pilot.register("scaler", scaler)
        norms = []
        for i in range(8):
            loss = model(torch.randn(8, 3)).square().mean()
            scaler.scale(loss).backward()
            if i == 4:
                model.weight.grad = torch.full_like(model.weight, torch.inf)
            norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])) / scaler.get_scale())
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            pilot.step(loss)
        pilot.close()
        events = told(folder)
        seen = [norm for done in of_kind(events, e.StepsDone) for norm in done.grad_norm]
        assert [n for n in seen if np.isfinite(n)] == pytest.approx([n for n in norms if np.isfinite(n)], rel=1e-4)
        assert not of_kind(events, e.StepSkipped), "the scaler's business is no alarm"


def test_a_loss_that_is_not_finite_is_told_and_said_not_to_be_kept_from_the_weights(tmp_path: Path) -> None:
    loop = Loop(clip=None).watch(tmp_path / "r").run(3)
    with torch.no_grad():
        next(loop.model.parameters()).fill_(torch.nan)
    loop.run(3).pilot.close()
    skipped = of_kind(told(tmp_path / "r"), e.StepSkipped)
    assert skipped and not skipped[0].kept and skipped[0].onset == 4


def test_several_optimizers_and_groups_are_steered_together(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 1)})
    one = torch.optim.SGD([{"params": model["a"].weight, "lr": 0.1}, {"params": model["a"].bias, "lr": 0.2}])
    two = torch.optim.AdamW(model["b"].parameters(), 0.3)
    used: dict[int, list[float]] = {0: [], 1: []}
    pilot = tuitrain.watch(model, [one, two], run=tmp_path / "r")
    for i, optimizer in enumerate((one, two)):
        optimizer.register_step_pre_hook(
            lambda o, *_, i=i: used.__setitem__(i, [group["lr"] for group in o.param_groups]))
    for step in range(3):
        loss = model["b"](model["a"](torch.randn(4, 2))).square().mean()
        loss.backward()
        for optimizer in (one, two):
            optimizer.step()
            optimizer.zero_grad()
        if step == 0:
            pilot._loop.orders.inbox.put(c.ScaleKnob(name="lr", factor=0.5, **who()))
        assert pilot.step(loss)
    assert pilot.steps == 3 and used == {0: pytest.approx([0.05, 0.1]), 1: pytest.approx([0.15])}
    pilot.close()


def test_landing_takes_the_rate_to_almost_nothing(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r").run(2)
    used: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
    loop.ask(c.Land(steps=10, **who()))
    loop.run(15).pilot.close()
    assert used[1] > used[5] > used[10] and used[-1] == pytest.approx(1e-4)


def test_curves_of_ones_own_and_the_epoch_are_told(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r")
    for i in range(4):
        loop.step(epoch=i / 4, accuracy=torch.tensor(i / 10))
    loop.pilot.log(temperature=3)
    loop.pilot.close()
    events = told(tmp_path / "r")
    curves: dict[str, list[tuple[int, float]]] = {}
    for logged in of_kind(events, e.Logged):
        curves.setdefault(logged.name, []).extend(zip(logged.steps, logged.values, strict=True))
    assert curves["accuracy"] == pytest.approx([(1, 0.0), (2, 0.1), (3, 0.2), (4, 0.3)])
    assert curves["temperature"] == [(4, 3.0)]
    assert of_kind(events, e.StepsDone)[-1].epoch == 0.75


def test_a_loop_that_clips_out_of_sight_says_how_often_and_is_advised_nothing(tmp_path: Path) -> None:
    loop = Loop(clip=None).watch(tmp_path / "r")
    loop.pilot.own_clip(0.25)
    for step in range(12):
        loss = loop.loss()
        loss.backward()
        # Every third step's gradient is short, the others are clipped.
        torch.nn.utils.clip_grad_norm_(loop.model.parameters(), 0.1 if step % 3 == 0 else loop.pilot.clip_in_force(0.0))
        loop.optimizer.step()
        loop.optimizer.zero_grad()
        loop.pilot.step(loss)
    loop.ask(c.SetKnob(name="clip", value="auto", **who("a")))
    loop.run(1).pilot.close()
    events = told(tmp_path / "r")
    acted = at_steps(events, "clipped")
    assert len(acted) > 1 and all(did == (step % 3 != 1) for step, did in acted.items() if step <= 12), acted
    [refused] = of_kind(events, e.CommandRefused)
    assert refused.id == "a" and "after its clip" in refused.reason


def test_snapshots_every_so_many_steps_come_although_they_are_looked_after_now_and_then(tmp_path: Path) -> None:
    loop = Loop().watch(tmp_path / "r", snapshot_every=10)
    between = loop.pilot._loop
    for _ in range(5):
        between.reporter._asked = float("inf")  # it is never time to look,
        loop.run(12)
        between._not_before = between.reporter._asked = float("-inf")  # and at the next step it is
        loop.run(1)
    loop.pilot.close()
    taken = [event.step for event in of_kind(told(tmp_path / "r"), e.SnapshotTaken) if event.reason == "interval"]
    assert taken == [26, 39, 52, 65], "a multiple was passed since the look before"
