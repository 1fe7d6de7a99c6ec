"""The step: the same numbers as a plain loop, and nothing non-finite gets in."""

import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import TINY
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.specs import OPTIMIZERS


def machine(text: str, **options: object) -> Machine:
    config = Config.of({**TINY, "corpus": "x", **options})
    return Machine(config, corpora.build("x", text, 0.1),
                   first_knobs(config))


def rows(m: Machine) -> np.ndarray:
    return np.concatenate([window.rows for window in m.learner.rows.drain(time.monotonic, wait=True)])


@pytest.mark.parametrize("loss", ["all", "last"])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_plain_loop_gives_the_same_losses(text: str, loss: str, clip: float) -> None:
    m = machine(text, optimizer="adam", loss=loss, clip=clip, stride=3 if loss == "last" else 1)
    torch.manual_seed(m.config.seed)
    from tuitrain.charlstm.looks.evaluator import make_model
    from tuitrain.charlstm.text.batches import make_cursor

    model = make_model(m.config, len(m.corpus.vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), m.config.lr, (0.9, 0.99), fused=True)
    cursor, ids = make_cursor(m.config, m.corpus.split), torch.tensor(m.corpus.train.astype(int))
    hidden, expected = None, []
    for _ in range(20):
        batch = cursor.next()
        windows = torch.stack([ids[o : o + m.config.bptt + 1] for o in batch.offsets])
        logits, hidden = model(windows[:, :-1], None if batch.fresh else hidden)
        wanted = windows[:, 1:] if loss == "all" else windows[:, -1:]
        logits = logits if loss == "all" else logits[:, -1:]
        value = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip or math.inf)
        optimizer.step()
        hidden = tuple(h.detach() for h in hidden)
        expected.append((value.item(), norm.item()))
    for _ in range(20):
        m.learn()
    assert np.allclose(rows(m)[:, :2], expected, rtol=2e-5)


def test_norm_and_clip_are_those_of_clip_grad_norm(text: str) -> None:
    m = machine(text)
    m.learn()
    for parameter in m.learner.gradients.parameters:
        parameter.grad = torch.randn_like(parameter)
    norm, groups = m.learner.gradients.norms()
    reference = [p.grad.clone() for p in m.learner.gradients.parameters]
    m.learner.gradients.clip(norm, torch.tensor(0.7))
    ours = [p.grad.clone() for p in m.learner.gradients.parameters]
    for parameter, gradient in zip(m.learner.gradients.parameters, reference, strict=True):
        parameter.grad = gradient
    theirs = nn.utils.clip_grad_norm_(m.learner.gradients.parameters, 0.7)
    assert norm.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert groups.square().sum().sqrt().item() == pytest.approx(norm.item(), rel=1e-6)
    for a, p in zip(ours, m.learner.gradients.parameters, strict=True):
        assert torch.allclose(a, p.grad, rtol=1e-6)


def test_clip_bounds_what_the_optimizer_sees(text: str) -> None:
    m = machine(text, optimizer="sgd", momentum=0.0, clip=0.01, lr=1.0)
    before = [p.detach().clone() for p in m.model.parameters()]
    m.learn()
    pairs = zip(before, m.model.parameters(), strict=True)
    moved = math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))
    assert moved == pytest.approx(0.01, rel=1e-3)
    row = rows(m)[0]
    assert row[1] > 0.01 and row[2] == 1 and row[5] == np.float32(0.01)


def test_element_clamp_changes_the_direction_not_only_the_length(text: str) -> None:
    m = machine(text, optimizer="sgd", momentum=0.0, clip=1e-4, clip_kind="element", lr=1.0)
    before = [p.detach().clone() for p in m.model.parameters()]
    m.learn()
    largest = max(float((a - b).detach().abs().max()) for a, b in zip(before, m.model.parameters(), strict=True))
    assert largest == pytest.approx(1e-4, rel=1e-2)


def test_a_uniform_model_scores_log2_of_the_vocabulary(text: str) -> None:
    m = machine(text)
    with torch.no_grad():
        m.model.head.weight.zero_()
        m.model.head.bias.zero_()
    m.learn()
    assert rows(m)[0, 0] / math.log(2) == pytest.approx(math.log2(len(m.corpus.vocabulary)), rel=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["all", "last"])
def test_a_non_finite_gradient_reaches_nothing(text: str, optimizer: str, loss: str) -> None:
    m = machine(text, optimizer=optimizer, loss=loss, lr=0.001)
    for _ in range(3):
        m.learn()
    before = m.freeze()
    m.learner.on_gradients = lambda: m.model.head.weight.grad.fill_(math.nan)
    m.learn()
    m.learner.on_gradients = None
    after = m.freeze()
    kept = [n for n in before.tensors if not n.startswith(("rng", "hidden"))]
    assert kept and all(torch.equal(before.tensors[n], after.tensors[n]) for n in kept)
    if loss == "all":  # windows carry nothing
        assert all(torch.equal(before.tensors[n], after.tensors[n]) for n in ("hidden.h", "hidden.c"))
    assert all(after.tensors[n].isfinite().all() for n in ("hidden.h", "hidden.c"))
    last = rows(m)[-1]
    assert last[3] == 1 and not math.isfinite(last[1])
    m.learn()
    assert rows(m)[0, 3] == 0
    assert all(p.isfinite().all() for p in m.model.parameters())


def test_a_non_finite_hidden_state_becomes_zero(text: str) -> None:
    m = machine(text)
    m.learn()
    m.learner.hidden[1].fill_(math.inf)
    m.learn()
    assert rows(m)[-1, 3] == 1
    assert float(m.learner.hidden[1].abs().sum()) == 0
    m.learn()
    assert rows(m)[-1, 3] == 0


def test_the_forget_gate_starts_open_and_recurrent_weights_orthogonal(text: str) -> None:
    m = machine(text)
    n = m.config.hidden
    bias = (m.model.rnn.bias_ih_l1 + m.model.rnn.bias_hh_l1).detach()
    assert torch.equal(bias[n : 2 * n], torch.ones(n)) and float(bias[:n].abs().sum()) == 0
    for gate in m.model.rnn.weight_hh_l0.detach().split(n):
        assert torch.allclose(gate @ gate.T, torch.eye(n), atol=1e-5)


def test_muon_orthogonalises_each_gate() -> None:
    from tuitrain.charlstm.model.optimizers import orthogonalised

    gates = torch.randn(4, 12, 20, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalised(gates))
    assert float(singular.min()) > 0.5 and float(singular.max()) < 1.3


def test_turning_a_knob_acts_on_the_next_step(text: str) -> None:
    m = machine(text, optimizer="sgd")
    m.learn()
    m.knobs = m.knobs.turned("lr", 0.125)
    m.learn()
    assert rows(m)[:, 4].tolist() == [np.float32(0.01), 0.125]
