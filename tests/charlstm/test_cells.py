"""What every recurrent cell must keep: its layers learn, its gates are named truly, its parameters keep their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY, Run
from tuitrain.charlstm import footprint
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.evaluator import make_model
from tuitrain.charlstm.looks.probe import Probe
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model.cells import CELLS
from tuitrain.charlstm.model.optimizers import MUON_RATIO, orthogonalised
from tuitrain.charlstm.start import race
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.diagnosis.memory import Memory
from tuitrain.errors import UsageError
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.specs import CELLS as DECLARED
from tuitrain.specs import cell as cell_of
from tuitrain.telemetry import readings
from tuitrain.telemetry.glossary import WORDS

ALL = pytest.mark.parametrize("cell", CELLS)


def machine(path: Path, **options: object) -> Machine:
    config = Config.of({**TINY, "corpus": str(path), **options})
    return Machine(config, corpora.load(path, val=config.val), first_knobs(config))


@ALL
def test_a_cell_learns_and_its_parameters_are_called_by_its_name(corpus: Path, cell: str) -> None:
    m = machine(corpus, cell=cell)
    for _ in range(60):
        m.learn()
    losses = m.rows.remembered(60)[:, 0]
    assert losses[-10:].mean() < 0.8 * losses[:5].mean() and np.isfinite(losses).all()
    names = {name for name, _ in m.model.named_parameters()}
    assert {f"{cell}.weight_ih_l0", f"{cell}.weight_hh_l1", f"{cell}.bias_ih_l0", "head.weight"} <= names
    frozen = m.freeze().tensors
    assert {name for name in frozen if name.startswith("hidden.")} == {f"hidden.{s}" for s in CELLS[cell].states}
    assert footprint.parameters(m.config, len(m.corpus.vocabulary)) == sum(p.numel() for p in m.model.parameters())


@ALL
def test_the_declared_gates_are_torchs_blocks_and_what_remembers_begins_open(cell: str) -> None:
    model = make_model(Config.of({**TINY, "cell": cell}), 12)
    size, gates = model.rnn.hidden_size, DECLARED[cell].gates
    assert model.rnn.weight_hh_l1.shape[0] == len(gates) * size
    assert set(DECLARED[cell].writes) <= gates.keys() and gates[DECLARED[cell].candidate] == "candidate"
    bias = CELLS[cell].by_gate((model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0).detach())
    assert {gate: float(values.mean()) for gate, values in bias.items()} == {
        gate: float(gate == CELLS[cell].remembers) for gate in gates}


@ALL
def test_a_gate_that_remembers_keeps_the_state_where_it_is_wide_open(cell: str) -> None:
    kind, size = CELLS[cell], 4
    layer = kind.module(3, size, batch_first=True)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_ih"):
                parameter.fill_(-50.0)
                parameter[kind.rows_of(kind.remembers, size)] = 50.0
        state = tuple(torch.rand(1, 2, size) for _ in kind.states)
        _, after = layer(torch.randn(2, 20, 3), state if len(state) > 1 else state[0])
    assert torch.allclose(after[-1] if len(state) > 1 else after, state[-1], atol=1e-5)


def test_the_probe_agrees_with_a_loop_over_time_through_a_gru(corpus: Path) -> None:
    m = machine(corpus, cell="gru", bptt=12)
    for _ in range(30):
        m.learn()
    probe = Probe(m.config, m.corpus.validation, m.device)
    found = probe.read(m.freeze())
    rnn, size = m.model.rnn, m.config.hidden
    assert m.model.embedding is not None
    with torch.no_grad():
        for p in m.model.parameters():
            p.requires_grad_(False)
        x = m.model.embedding(probe._inputs)
        for i, layer in enumerate(found["layers"]):
            w, u, b, d = (getattr(rnn, f"{name}_l{i}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h, seen, outs = torch.zeros(len(x), size), [], []
            for t in range(x.shape[1]):
                left, right = (x[:, t] @ w.T + b).chunk(3, 1), (h @ u.T + d).chunk(3, 1)
                r, z = (left[0] + right[0]).sigmoid(), (left[1] + right[1]).sigmoid()
                n = (left[2] + r * right[2]).tanh()
                h = (1 - z) * n + z * h
                seen.append((r, z, n))
                outs.append(h)
            x = torch.stack(outs, 1)
            r, z, n = (torch.stack(part) for part in zip(*seen, strict=True))
            expected = {"r": ((r < 0.1) | (r > 0.9)), "z": ((z < 0.1) | (z > 0.9)), "n": n.abs() > 0.97}
            assert layer["saturation"] == pytest.approx(
                {gate: float(share.float().mean()) for gate, share in expected.items()}, abs=2e-3)
            exact = float(torch.linalg.eigvals(u[2 * size :]).abs().max())
            assert layer["radius"] == pytest.approx(exact, rel=0.1)
            assert len(layer["flow"]) == 12 and layer["flow"][-1] == 0 and layer["worst"] >= 1
        logits = m.model.head(x)
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), probe._targets.flatten())), abs=1e-4)


def test_the_readings_have_a_share_for_each_gate(corpus: Path) -> None:
    m = machine(corpus, cell="gru")
    for _ in range(5):
        m.learn()
    [told] = m.instruments.measured(0, 5)
    assert list(told.gates) == ["r 1", "z 1", "n 1", "r 2", "z 2", "n 2"]
    assert sum(values[0] for values in told.gates.values()) == pytest.approx(2, abs=1e-2)


def test_muon_orthogonalises_each_block_of_a_gru(corpus: Path) -> None:
    m = machine(corpus, cell="gru", optimizer="muon", lr=0.01)
    before = m.model.rnn.weight_hh_l0.detach().clone()
    m.learn()
    recurrent = m.model.rnn.weight_hh_l0
    assert isinstance(recurrent.grad, torch.Tensor)
    for moved, gradient in zip((recurrent.detach() - before).chunk(3), recurrent.grad.chunk(3), strict=True):
        expected = -0.01 * MUON_RATIO * orthogonalised(gradient)
        assert float((moved - expected).norm() / expected.norm()) < 0.02


def test_a_run_of_a_gru_draws_stops_and_goes_on(start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    from tuitrain.protocol import commands as c

    run = start(cell="gru")
    run.to_step(20)
    drawn = run.answer(c.DrawSample)
    assert isinstance(drawn, e.SampleDrawn) and len(drawn.text) == 20
    probed = run.answer(c.LookInside)
    assert isinstance(probed, f.Probed) and list(probed.layers[0]["saturation"]) == ["r", "z", "n"]
    assert run.of(e.RunStarted)[0].config["cell"] == "gru"
    run.stop()
    assert resume(run.folder).of(e.RunResumed)[0].exact


def test_a_configuration_of_before_there_was_a_choice_means_an_lstm(
        start: Callable[..., Run], resume: Callable[..., Run]) -> None:
    run = start()
    run.to_step(12)
    run.stop()
    kept, _ = run.folder.read_sealed_config()
    del kept["config"]["cell"]
    run.folder.write_config({name: value for name, value in kept.items() if name != "crc"})
    again = resume(run.folder)
    assert again.of(e.RunResumed)[0].exact and again.machine.config.cell == "lstm"
    assert cell_of({}).title == "LSTM" and cell_of({"cell": "gru"}).title == "GRU"
    assert cell_of({"cell": "of tomorrow"}).title == "of tomorrow", "a newer run's cell is called what it calls itself"


def test_a_cell_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="cell lsmt: choose one of lstm, gru"):
        Config.of({"cell": "lsmt"})


def test_threads_are_raced_for_each_cell() -> None:
    keys = {race._key(Config.of({**TINY, "cell": cell}), "cpu", 60) for cell in CELLS}
    assert len(keys) == len(CELLS)


def test_the_gates_that_write_are_compared_around_a_trouble() -> None:
    from tuitrain.diagnosis.signs import Signs

    def probed(step: int, **saturation: float) -> f.Probed:
        layer = {"saturation": saturation, "dead": 0.0, "worst": 1.0, "first": 0.1, "radius": 1.0}
        return f.Probed(branch=0, step=step, loss=2.0, entropy=2.0, layers=(layer,), reason="interval", seconds=0.0)

    memory = Memory()
    memory.cell = cell_of({"cell": "gru"})
    memory.probes += [readings.Probe.of(x) for x in (probed(10, r=0.1, z=0.2, n=0.1), probed(30, r=0.9, z=0.25, n=0.5))]
    signs = Signs("adam")
    memory._from_probes(signs, 20)
    assert signs.saturation_jump == pytest.approx(0.4)


@ALL
def test_the_glossary_names_the_gates(cell: str) -> None:
    for letter, name in DECLARED[cell].gates.items():
        assert f"{letter} {name}" in WORDS["gate"]
