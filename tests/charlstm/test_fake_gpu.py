"""The step on devices that are no CPU: nothing is left behind on the host, and nothing is asked of it."""

import contextlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.charlstm.fake_gpu import CASES, OPTIMIZERS, SABOTAGE, ask_by_float, step
from tuitrain.charlstm import runtime


@pytest.fixture(scope="module")
def came() -> dict[str, str]:
    """What came of each case on the fake device, in the one process that it is registered in."""
    done = subprocess.run([sys.executable, "-m", "tests.charlstm.fake_gpu"], cwd=Path(__file__).resolve().parents[2],
                          capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def test_the_whole_step_stays_on_the_device_and_asks_the_host_nothing(came: dict[str, str]) -> None:
    assert {name: came[name] for name in CASES} == dict.fromkeys(CASES, "")


def test_what_is_left_behind_or_asked_for_is_noticed(came: dict[str, str]) -> None:
    said = {"left on the CPU": "fakegpu:0 and cpu", "float()": "_local_scalar_dense", "bool()": "_local_scalar_dense",
            "a count on the CPU": "_fused_adam_.tensor_lr has a tensor on cpu"}
    assert said.keys() == SABOTAGE.keys() and all(words in came[name] for name, words in said.items()), came


@pytest.mark.parametrize("options", [{"optimizer": name} for name in OPTIMIZERS] + [
    {"optimizer": "adam", "precision": "bf16"}, {"optimizer": "adam", "precision": "fp16", "dropout": 0.3}], ids=str)
def test_the_whole_step_runs_without_memory_or_arithmetic(options: dict[str, Any],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "autocast", lambda device, precision: contextlib.nullcontext())  # knows no such device
    for name in ("adam", "sgd"):
        module = importlib.import_module(f"torch.optim.{name}")
        monkeypatch.setattr(module, "_device_dtype_check_for_fused", lambda *_, **__: None)
    assert step(options, device="meta") == ""
    assert "item" in step(options, ask_by_float, device="meta")
