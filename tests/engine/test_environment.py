"""Two machines compared: what decides whether the same numbers come again, on a CPU and on a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY
from tuitrain.charlstm import cache, repeats
from tuitrain.charlstm.config import Config
from tuitrain.engine import environment

H100 = {"versions": {"torch": "2.13.0+cu130", "gpu": "NVIDIA H100 (9.0)", "cuda": "13.0", "cudnn": "91002", "cpu": "A",
                     "capability": "AVX512"},
        "device": "cuda (NVIDIA H100)", "threads": 2, "precision": "tf32"}


def changed(**values: Any) -> dict[str, Any]:
    there = {key: values.pop(key) for key in list(values) if key in H100}
    return {**H100, **there, "versions": {**H100["versions"], **values}}  # type: ignore[dict-item]


@pytest.mark.parametrize(("then", "why"), [
    (changed(), ""),
    (changed(cpu="B", capability="AVX2", threads=7), ""),
    (changed(device="cuda:1 (NVIDIA H100)"), ""),
    (changed(gpu="NVIDIA A100 (8.0)"), "gpu was NVIDIA A100 (8.0), is NVIDIA H100 (9.0)"),
    (changed(cudnn="90501", cuda="12.8"), "cuda was 12.8, is 13.0; cudnn was 90501, is 91002"),
    (changed(torch="2.12"), "torch was 2.12, is 2.13.0+cu130"),
    (changed(precision="fp16"), "precision was fp16, is tf32"),
    (changed(device="cpu"), "was on cpu, continues on cuda"),
    ({**H100, "versions": {"torch": "2.13.0+cu130"}},
     "its gpu was not recorded; its cuda was not recorded; its cudnn was not recorded"),
])
def test_what_decides_on_a_gpu(then: dict[str, Any], why: str) -> None:
    assert "; ".join(environment.differences(then, H100)) == why


def test_on_a_cpu_the_processor_and_the_threads_decide() -> None:
    here = environment.of(Config.of({**TINY}))
    assert environment.differences(here, here) == []
    assert environment.differences({**here, "threads": 9}, here) == ["threads were 9, are 1"]
    [words] = environment.differences({**here, "versions": {**here["versions"], "cpu": "B"}}, here)
    assert words.startswith("cpu was B, is ")


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)


@pytest.mark.usefixtures("h100")
def test_a_gpu_is_recorded_with_what_computes_on_it() -> None:
    told = environment.of(Config.of({**TINY, "device": "cuda:1"}))
    assert told["device"] == "cuda:1 (NVIDIA H100)"
    assert {name: told["versions"][name] for name in ("gpu", "cuda", "cudnn")} == {
        "gpu": "NVIDIA H100 (9.0)", "cuda": "13.0", "cudnn": "91002"}


@pytest.mark.usefixtures("h100")
def test_a_gpu_is_exact_only_where_the_selftest_has_shown_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cache, "path", lambda name: tmp_path / "cache" / name)
    config = Config.of({**TINY, "device": "cuda", "optimizer": "adam"})

    def why() -> str:
        return repeats.why_not_exact(environment.of(config), config)

    assert "`tuitrain selftest --device cuda` has not shown yet that this GPU repeats lstm with adam" in why()
    repeats.remember("cuda", {("lstm", "sgd"), ("gru", "adam")})
    assert "repeats lstm with adam" in why()
    repeats.remember("cuda", {("lstm", "adam"), ("lstm", "sgd")})
    assert why() == ""
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91100)
    assert "adam" in why()
    for content in ("", "[]", '{"x": 3}'):
        (tmp_path / "cache" / "repeats.json").write_text(content)
        assert "adam" in why()


@pytest.mark.usefixtures("h100")
def test_with_dropout_a_gpu_promises_nothing_even_on_the_same_machine() -> None:
    config = Config.of({**TINY, "device": "cuda", "dropout": 0.2})
    assert repeats.why_not_exact(environment.of(config), config) == "dropout on CUDA keeps a state of its own"
