"""Which device is trained on: a GPU that is missing, taken or out of order, one of several; what is read off it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY
from tuitrain.charlstm import prepare
from tuitrain.charlstm.config import Config
from tuitrain.engine import devices
from tuitrain.engine.usage import Usage
from tuitrain.errors import UsageError
from tuitrain.protocol.events import MachineUsed

Gpus = Callable[..., list[str]]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """gpus(2, busy=["cuda"]) -> the devices that were made current, as time goes."""
    current: list[str] = []

    def pretend(count: int, busy: tuple[str, ...] = (), warn: str = "") -> list[str]:
        def available() -> bool:
            if warn:
                warnings.warn(warn, UserWarning, stacklevel=1)
            return count > 0

        def kernel(device: str) -> None:
            if device in busy:
                raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with ...")

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda index: current.append(f"cuda:{index}"))
        monkeypatch.setattr(devices, "first_kernel", kernel)
        return current

    return pretend


def test_a_gpu_is_taken_where_there_is_one_and_made_current(gpus: Gpus) -> None:
    said: list[str] = []
    current = gpus(2)
    assert devices.pick("auto", said.append) == "cuda" and devices.pick("cuda:1", said.append) == "cuda:1"
    assert current == ["cuda:0", "cuda:1"] and not said
    assert devices.pick("cpu", said.append) == "cpu"


def test_a_gpu_in_exclusive_use_leaves_auto_on_the_cpu_and_says_so(gpus: Gpus) -> None:
    gpus(1, busy=("cuda",))
    said: list[str] = []
    assert devices.pick("auto", said.append) == "cpu"
    [line] = said
    assert "training on the CPU" in line and "busy or unavailable" in line and "\n" not in line
    with pytest.raises(UsageError, match=r"^--device cuda: cuda cannot be used \(.*unavailable\); use"):
        devices.pick("cuda", said.append)


def test_no_gpu_at_all_is_no_news_but_a_driver_that_complains_is(gpus: Gpus) -> None:
    said: list[str] = []
    gpus(0)
    assert devices.pick("auto", said.append) == "cpu" and not said
    gpus(0, warn="CUDA initialization: The NVIDIA driver on your system is too old")
    assert devices.pick("auto", said.append) == "cpu"
    assert "driver on your system is too old" in said[0]


def test_a_number_too_high_names_those_there_are(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    gpus(2)
    with pytest.raises(UsageError, match=r"cuda:2: there is only cuda:0, cuda:1 with CUDA_VISIBLE_DEVICES=3,5"):
        devices.pick("cuda:2", lambda words: None)


@pytest.mark.parametrize(("was", "count", "busy", "now", "remarks"), [
    ("cuda:1", 2, (), "cuda:1", 0), ("cuda:1", 1, (), "cuda", 1), ("cuda", 0, (), "cpu", 1), ("cpu", 2, (), "cpu", 0),
    ("cuda:1", 2, ("cuda:1", "cuda"), "cpu", 2)])
def test_a_run_goes_on_on_its_device_or_the_next_best(gpus: Gpus, was: str, count: int, busy: tuple[str, ...],
                                                      now: str, remarks: int) -> None:
    gpus(count, busy)
    said: list[str] = []
    assert devices.again(was, said.append) == now and len(said) == remarks


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "mps"])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}: choose one of auto, cpu, cuda, or cuda:1"):
        Config.of({"device": name})


def test_a_plan_for_a_busy_gpu_is_one_for_the_cpu(gpus: Gpus, corpus: Path) -> None:
    gpus(1, busy=("cuda",))
    options = {**TINY, "corpus": str(corpus), "device": "auto"}
    del options["hidden"]
    made = prepare.plan(options)
    assert made.config.device == "cpu" and made.config.hidden == 128
    assert any("training on the CPU" in remark for remark in made.remarks)
    with pytest.raises(UsageError, match="--device cuda:7"):
        prepare.plan({**options, "device": "cuda:7"})


def test_a_part_of_a_gpu_has_no_load_and_tells_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: object) -> int:
        raise RuntimeError("NVMLError_NotSupported")

    readings: dict[str, Any] = {"utilization": refuse, "temperature": lambda device: 41,
                                "memory_reserved": lambda device: 3 << 20, "mem_get_info": lambda device: (1, 8 << 30)}
    for name, reading in readings.items():
        monkeypatch.setattr(torch.cuda, name, reading)
    [event] = Usage(torch.device("cuda")).attend()
    assert isinstance(event, MachineUsed)
    assert (event.gpu_load, event.gpu_temperature) == (None, 41.0)
    assert (event.gpu_memory, event.gpu_memory_total) == (3 << 20, 8 << 30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    [event] = Usage(torch.device("cuda")).attend()
    assert isinstance(event, MachineUsed)
    assert event.gpu_memory_total is None and event.gpu_temperature == 41.0
