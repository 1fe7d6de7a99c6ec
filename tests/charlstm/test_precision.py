"""Number formats: which a device takes, LSTM and head cast outside autocast, and fp16's loss scale."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY
from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model import precision
from tuitrain.charlstm.model.precision import FIRST, GROW, LossScale
from tuitrain.charlstm.start import formats
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.diagnosis.analyst import STREAK, Analyst
from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.reporter import Reporter
from tuitrain.errors import UsageError
from tuitrain.protocol.events import StepSkipped
from tuitrain.run import checkpoints
from tuitrain.specs import CELLS
from tuitrain.troubles import LOSS_SCALE

CPU = torch.device("cpu")


def machine(text: str, **options: object) -> Machine:
    config = Config.of({**TINY, "corpus": "x", **options})
    return Machine(config, corpora.build("x", text, 0.1), first_knobs(config))


def never(*_: object) -> None:
    raise AssertionError("autocast runs cuDNN's LSTM in fp16, whatever it is asked for")


@pytest.mark.parametrize(("tf32", "asked", "taken"), [
    (True, "auto", "tf32"), (False, "auto", "fp32"), (True, "fp32", "fp32"), (True, "tf32", "tf32"),
    (True, "bf16", "bf16"), (False, "fp16", "fp16")])
def test_a_gpu_takes_tf32_unless_told_otherwise_and_names_it(monkeypatch: pytest.MonkeyPatch, tf32: bool, asked: str,
                                                             taken: str) -> None:
    monkeypatch.setattr(formats, "_gpu_has_tf32", lambda: tf32)
    assert formats.pick(asked, "cuda:1") == taken


@pytest.mark.parametrize(("device", "asked", "said"), [
    ("cpu", "fp16", "on a CPU take auto, fp32 or bf16"), ("cpu", "tf32", "on a CPU take auto, fp32 or bf16"),
    ("cuda", "tf32", "before Ampere have no TF32")])
def test_a_format_that_is_not_there_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, device: str, asked: str,
                                                             said: str) -> None:
    monkeypatch.setattr(formats, "_gpu_has_tf32", lambda: False)
    with pytest.raises(UsageError, match=said):
        formats.pick(asked, device)


def test_a_run_goes_on_elsewhere_in_a_format_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_gpu_has_tf32", lambda: False)
    monkeypatch.setattr(formats, "cpu_has_bf16", lambda: False)
    found = {asked: formats.available("cpu", asked, "lstm") for asked in ("fp32", "tf32", "bf16", "fp16")}
    assert found == dict.fromkeys(
        ("fp32", "tf32", "bf16", "fp16"), "fp32")
    assert [formats.available("cuda", asked, "lstm") for asked in ("tf32", "fp16", "bf16")] == ["fp32", "fp16", "bf16"]


def test_autocast_is_for_a_cpu_alone() -> None:
    assert runtime.autocast("cpu", "bf16")._enabled
    assert not runtime.autocast("cuda", "bf16")._enabled and not runtime.autocast("cuda", "fp16")._enabled


@pytest.mark.parametrize(("name", "allowed"), [("fp32", False), ("tf32", True), ("bf16", True)])
def test_tf32_is_set_and_not_left_to_torch(monkeypatch: pytest.MonkeyPatch, name: str, allowed: bool) -> None:
    for backend, start in ((torch.backends.cudnn, not allowed), (torch.backends.cuda.matmul, not allowed)):
        monkeypatch.setattr(backend, "allow_tf32", start)
    precision.set_up(name)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (allowed, allowed)


@pytest.mark.parametrize(("name", "given", "fine"), [
    ("bf16", torch.bfloat16, True), ("bf16", torch.float16, False), ("bf16", None, False),
    ("fp16", torch.float16, True), ("tf32", None, True)])
def test_a_half_format_is_taken_only_where_the_lstm_gives_it_out(monkeypatch: pytest.MonkeyPatch, name: str, given: Any,
                                                                 fine: bool) -> None:
    monkeypatch.setattr(precision, "output_format", lambda *_: given)
    if fine:
        precision.check("lstm", name, torch.device("cuda"))
    else:
        with pytest.raises(UsageError, match="does not run in it"):
            precision.check("lstm", name, torch.device("cuda"))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_the_format_of_a_cell_is_read_off_its_output(name: str, cell: str) -> None:
    assert precision.output_format(cell, name, CPU) == precision.HALF[name]


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.parametrize("embedding", [8, "onehot"])
def test_lstm_and_head_are_cast_outside_autocast_and_gradients_come_back_in_fp32(
        text: str, monkeypatch: pytest.MonkeyPatch, name: str, embedding: object) -> None:
    monkeypatch.setattr(runtime, "autocast", never)
    m = machine(text, embedding=embedding)
    plain = machine(text, embedding=embedding)
    m.learner.forward = precision.CastForward(m.model, CPU, name)
    seen: set[torch.dtype] = set()
    m.learner.forward.module.rnn.register_forward_hook(lambda module, given, out: seen.add(out[0].dtype))
    monkeypatch.setattr(plain.learner, "forward", Undisturbed(plain.learner.forward))
    m.learn()
    plain.learn()
    assert seen == {precision.HALF[name]}
    for ours, theirs in zip(m.model.parameters(), plain.model.parameters(), strict=True):
        assert ours.grad is not None and ours.grad.dtype == torch.float32
        assert float((ours.grad - theirs.grad).norm() / theirs.grad.norm()) < (0.05 if name == "bf16" else 0.01)
    m.learn()
    a, b = (x.learner.rows.remembered(1) for x in (m, plain))
    assert a[0, 0] != b[0, 0], "the second step casts the weights that the first one has moved"


class Undisturbed:
    """fp32 without the context that is forbidden here."""

    def __init__(self, forward: precision.Forward) -> None:
        self.module, self.scale, self._forward = forward.module, None, forward

    def __call__(self, ids: torch.Tensor, hidden: Any, *, last: bool) -> Any:
        return self.module(ids, hidden, last=last)

    def backward(self, loss: torch.Tensor) -> None:
        self._forward.backward(loss)


def test_small_gradients_survive_fp16_by_the_loss_scale(text: str) -> None:
    """With a mean over a preset's 12,800 characters most gradients are subnormal or nothing in fp16."""
    lost = {}
    for scaled in (True, False):
        m = machine(text, hidden=32, embedding=32)
        m.learner.forward = forward = precision.CastForward(m.model, CPU, "fp16")
        assert forward.scale is not None
        if not scaled:
            forward.scale = None
        m.learner.forward.backward = lambda loss, f=forward: precision.CastForward.backward(f, loss / 1000)  # type: ignore[method-assign]
        m.learn()
        lost[scaled] = float((m.model.rnn.weight_hh_l0.grad == 0).float().mean())
    assert lost[True] < 0.01 and lost[False] > 10 * max(lost[True], 0.001)


def test_an_overflow_halves_the_scale_withholds_the_step_and_is_no_alarm(text: str) -> None:
    m = machine(text, precision="fp16")
    scale = m.learner.forward.scale
    assert scale is not None
    for _ in range(3):
        m.learn()
    assert not m.learner.rows.remembered(3)[:, 3].any() and float(scale.value) == FIRST
    scale.value.fill_(2.0**40)
    before = m.freeze()
    m.learn()
    after = m.freeze()
    assert m.learner.rows.remembered(1)[0, 3] == 1 and float(scale.value) == FIRST
    same = [n for n in before.tensors if n.startswith(("model.", "optimizer.", "hidden."))]
    assert same and all(torch.equal(before.tensors[n], after.tensors[n]) for n in same)
    m.learn()
    [told] = [e for e in Reporter(m).flush() if isinstance(e, StepSkipped)]
    assert told.rule == LOSS_SCALE.name and told.streak == 0 and "loss scale" in told.sentence
    assert list(Analyst().consider(told)) == []


def test_numbers_that_are_not_finite_under_any_scale_become_the_guards_concern(text: str) -> None:
    m = machine(text, precision="fp16")
    m.learner.on_gradients = lambda: m.model.head.weight.grad.fill_(math.nan)
    reporter, told = Reporter(m), []
    for _ in range(STREAK):
        m.learn()
        told += [e for e in reporter.flush() if isinstance(e, StepSkipped)]
    assert [e.rule for e in told] == [LOSS_SCALE.name] * 16 + ["non_finite"] * (STREAK - 16)
    assert told[-1].streak == STREAK


def test_the_scale_grows_after_many_good_steps_and_never_beyond_its_bounds() -> None:
    scale, yes, no = LossScale(CPU), torch.tensor(True), torch.tensor(False)
    for _ in range(GROW):
        scale.update(no)
    assert float(scale.value) == FIRST, "it begins with the highest"
    scale.update(yes)
    for _ in range(GROW - 1):
        scale.update(no)
    assert float(scale.value) == FIRST / 2
    scale.update(no)
    assert float(scale.value) == FIRST
    for _ in range(40):
        scale.update(yes)
    assert float(scale.value) == 1.0


@pytest.mark.parametrize("through_a_file", [False, True])
def test_fp16_goes_on_bit_for_bit_from_a_snapshot_scale_included(text: str, tmp_path: Any,
                                                                 through_a_file: bool) -> None:
    m = machine(text, precision="fp16", dropout=0.2)
    for _ in range(5):
        m.learn()
    m.learner.forward.scale.value.fill_(512.0)
    frozen = m.freeze()
    if through_a_file:
        from tuitrain.protocol.codec import plain

        mark = checkpoints.save(tmp_path, frozen.arrays(), branch=0, step=5, reason="test", pinned=False,
                                values=plain(frozen.values))
        frozen = snapshot_of(mark, checkpoints.load(tmp_path, mark))
    for _ in range(10):
        m.learn()
    rows, end = m.learner.rows.remembered(10), m.freeze()
    again = machine(text, precision="fp16", dropout=0.2)
    again.thaw(frozen)
    for _ in range(10):
        again.learn()
    assert np.array_equal(again.learner.rows.remembered(10), rows) and rows[0, 6] == 512
    assert all(torch.equal(t, again.freeze().tensors[n]) for n, t in end.tensors.items())


def test_a_gru_in_bf16_on_a_cpu_is_refused_and_goes_on_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "cpu_has_bf16", lambda: True)
    with pytest.raises(UsageError, match="GRU in fp32 on a CPU"):
        precision.check("gru", "bf16", CPU)
    precision.check("lstm", "bf16", CPU)
    assert formats.available("cpu", "bf16", "gru") == "fp32" and formats.available("cpu", "bf16", "lstm") == "bf16"
