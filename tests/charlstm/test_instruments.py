"""Instruments against slow, plain references: readings of a step, the probe, the power method."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.conftest import TINY
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.instruments import EVERY
from tuitrain.charlstm.looks.probe import Probe, interval, shape, spectral_radius
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora


def machine(path: Path, **words: object) -> Machine:
    config = Config.of({**TINY, "corpus": str(path), "device": "cpu", **words})
    return Machine(config, corpora.load(path, val=config.val), first_knobs(config))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_readings_are_what_a_plain_computation_gives(corpus: Path, optimizer: str) -> None:
    m = machine(corpus, optimizer=optimizer, lr=0.01, clip=0.05)
    for _ in range(2 * EVERY - 1):
        m.learn()
    old = {name: p.detach().clone() for name, p in m.model.named_parameters()}
    recurrent = m.model.rnn.weight_hh_l1
    state = m.optimizer.parts[0].state[recurrent]
    if optimizer == "adam":
        then = state["exp_avg_sq"].clone() / (1 - m.config.betas[1] ** float(state["step"]))
    else:
        then = state["square_avg"].clone()
    m.learn()
    steps, read = m.instruments.drain(m.progress.step)
    assert steps == [EVERY, 2 * EVERY]
    layer = [n for n, _ in m.model.named_parameters() if n.endswith("_l1")]
    now = dict(m.model.named_parameters())
    moved = torch.cat([(now[n].detach() - old[n]).flatten() for n in layer]).norm()
    length = torch.cat([now[n].detach().flatten() for n in layer]).norm()
    row = {kind: values[-1] for kind, values in read.items()}
    at = m.instruments.groups.index("layer 2")
    assert row["weights"][at] == pytest.approx(float(length), rel=1e-4)
    assert row["update_ratio"][at] == pytest.approx(float(moved / length), rel=1e-3)
    expected = (recurrent.grad.square() / then.clamp(min=1e-16)).mean().sqrt()
    assert row["rms"][m.instruments.matrices.index("W_hh 2")] == pytest.approx(float(expected), rel=1e-2)
    assert row["gates"].reshape(2, 4).sum(1) == pytest.approx([1, 1], abs=1e-4)


def test_optimizers_without_a_memory_have_no_such_reading(corpus: Path) -> None:
    m = machine(corpus, optimizer="sgd", lr=0.1)
    for _ in range(EVERY):
        m.learn()
    _, read = m.instruments.drain(m.progress.step)
    assert read["rms"].shape == (1, 0) and read["weights"].shape == (1, len(m.instruments.groups))


@pytest.mark.parametrize(("embedding", "loss"), [("onehot", "last"), (12, "all")])
def test_the_probe_agrees_with_a_loop_over_time(corpus: Path, embedding: object, loss: str) -> None:
    m = machine(corpus, embedding=embedding, loss=loss, bptt=12)
    for _ in range(5):
        m.learn()
    before = torch.get_rng_state()
    probe = Probe(m.config, m.corpus.validation, m.device)
    found = probe.read(m.freeze())
    assert torch.equal(before, torch.get_rng_state())
    m.model.eval()
    inputs, targets = probe._inputs, probe._targets
    table = m.model.eye if m.model.embedding is None else m.model.embedding.weight
    x = F.embedding(inputs, table).detach()
    rows, length = inputs.shape
    lstm, size = m.model.rnn, m.config.hidden
    perturbed = [[torch.zeros(rows, x.shape[2] if i == 0 else size, requires_grad=True) for _ in range(length)]
                 for i in range(m.config.layers)]
    outs, gates = [x[:, t] for t in range(length)], []
    for i in range(m.config.layers):
        w, u = getattr(lstm, f"weight_ih_l{i}"), getattr(lstm, f"weight_hh_l{i}")
        bias = getattr(lstm, f"bias_ih_l{i}") + getattr(lstm, f"bias_hh_l{i}")
        h = c = torch.zeros(rows, size)
        seen, next_ = [], []
        for t in range(length):
            a = (outs[t] + perturbed[i][t]) @ w.T + h @ u.T + bias
            i_, f_, g_, o_ = a.chunk(4, 1)
            c = f_.sigmoid() * c + i_.sigmoid() * g_.tanh()
            h = o_.sigmoid() * c.tanh()
            next_.append(h)
            seen.append((i_.sigmoid(), f_.sigmoid(), g_.tanh(), o_.sigmoid()))
        outs = next_
        gates.append(seen)
    logits = m.model.head(torch.stack(outs, 1))
    flat = F.cross_entropy(logits[:, -1:] .flatten(0, 1) if loss == "last" else logits.flatten(0, 1),
                           targets[:, -1:].flatten() if loss == "last" else targets.flatten())
    assert found["loss"] == pytest.approx(float(flat.detach()), abs=1e-4)
    F.cross_entropy(logits[:, -1], targets[:, -1], reduction="sum").backward()
    for i, layer in enumerate(found["layers"]):
        norms = torch.stack([p.grad.norm(dim=1) for p in perturbed[i]], 1)
        mean = norms.mean(0)
        assert layer["first"] == pytest.approx(float(mean[0] / mean[-1]), rel=1e-3)
        assert layer["peak"] == pytest.approx(float((mean / mean[-1]).max()), rel=1e-3)
        assert layer["worst"] == pytest.approx(float((norms / norms[:, -1:]).max()), rel=1e-3)
        g = torch.stack([s[2] for s in gates[i]])
        o = torch.stack([s[3] for s in gates[i]])
        assert layer["saturation"]["g"] == pytest.approx(float((g.abs() > 0.97).float().mean()), abs=2e-3)
        assert layer["saturation"]["o"] == pytest.approx(float(((o < 0.1) | (o > 0.9)).float().mean()), abs=2e-3)
        assert len(layer["flow"]) == length and layer["recurrent_norm"] > 0


def test_the_power_method_comes_within_a_few_per_cent() -> None:
    rng = np.random.default_rng(1)
    for size in (8, 64, 128):
        matrix = torch.from_numpy(rng.standard_normal((size, size)))
        exact = float(torch.linalg.eigvals(matrix).abs().max())
        assert spectral_radius(matrix) == pytest.approx(exact, rel=0.08)


def test_probes_take_about_a_hundredth_of_the_steps(corpus: Path) -> None:
    config = Config.of({"corpus": str(corpus), "batch_size": 128, "bptt": 30})
    assert shape(config, 10_000) == (64, 30) and 50 <= interval(config, 10_000) <= 200


def test_measuring_and_probing_change_nothing_that_is_learned(corpus: Path) -> None:
    plain, watched = machine(corpus, dropout=0.3), machine(corpus, dropout=0.3)
    probe = Probe(watched.config, watched.corpus.validation, watched.device)
    torch.manual_seed(1)
    for _ in range(8):
        plain.learner.step(plain.cursor.next(), 0.01, 1.0)
    torch.manual_seed(1)
    for _ in range(8):
        watched.instruments.before()
        watched.learner.step(watched.cursor.next(), 0.01, 1.0)
        watched.instruments.after(1)
        probe.read(watched.freeze())
        watched._frozen = None
    for a, b in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(a, b)
