"""The whole step on a device that has no memory and does no arithmetic, but knows where each tensor is.

A tensor left on the CPU is named there, and so is a number that is read by the host, such as a hidden `float()` or
`bool()`: on a GPU the one ends the run and the other makes the host wait, and neither can be in a CUDA graph. It is
registered for the whole process, so this is a process of its own: `python -m tests.charlstm.fake_gpu` prints what came
of each case as JSON.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.conftest import TINY
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks.evaluator import make_model
from tuitrain.charlstm.looks.instruments import Instruments
from tuitrain.charlstm.model import optimizers
from tuitrain.charlstm.model.learner import Learner
from tuitrain.charlstm.text import corpus
from tuitrain.specs import OPTIMIZERS

NAME = "fakegpu"
CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name} for name in OPTIMIZERS},
    "windows": {"optimizer": "adam", "loss": "last"},
    "element clip": {"optimizer": "adam", "clip_kind": "element", "clip": 1.0},
    "weight decay": {"optimizer": "rmsprop", "weight_decay": 0.1},
    "one-hot, dropout": {"embedding": "onehot", "dropout": 0.3, "optimizer": "adam"},
}


def leave_on_the_cpu(learner: Learner) -> None:
    """As if somebody had forgotten a `device=`."""
    learner._time = torch.arange(learner._config.bptt, device="cpu")


def ask_by_float(learner: Learner) -> None:
    """As if somebody logged the norm."""
    learner.on_gradients = lambda: float(learner.gradients.norms()[0])


def ask_by_bool(learner: Learner) -> None:
    """As if somebody clipped only where that is needed."""
    learner.on_gradients = lambda: bool(learner.gradients.norms()[0] > 1)


def keep_a_count_on_the_cpu(learner: Learner) -> None:
    """As a resumed optimizer once did."""
    state = next(iter(learner.optimizer.parts[0].state.values()))
    state["step"] = torch.zeros((), device="cpu")


SABOTAGE: dict[str, Callable[[Learner], object]] = {
    "left on the CPU": leave_on_the_cpu, "float()": ask_by_float, "bool()": ask_by_bool,
    "a count on the CPU": keep_a_count_on_the_cpu}


class Backend(backend_registration._DummyBackendModule):
    """What autocast asks of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Fused(TorchDispatchMode):
    """The fused optimizers are kernels that nobody wrote for this device; looked at is where their tensors lie."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func._schema.name.startswith("aten::_fused_"):
            return func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor) and value.device.type != self._device:
                raise RuntimeError(f"{func} has a tensor on {value.device}")
        return None


def step(options: dict[str, Any], spoil: Callable[[Learner], object] | None = None, device: str = NAME) -> str:
    """Two steps, the second one measured; what went wrong, in a line, or nothing."""
    built = corpus.build("fake", "the tide came late and nobody saw it. " * 50, 0.1)
    config = Config.of({**TINY, "bptt": 3, **options})
    try:
        with FakeTensorMode() if device == NAME else contextlib.nullcontext(), Fused(device):
            with torch.device(device):
                model = make_model(config, len(built.vocabulary))
            learner = Learner(config, model, optimizers.make(config, model), built.train)
            instruments = Instruments(model, learner.gradients, learner.optimizer)
            learner.optimizer.set_lr(learner._lr)
            learner.advance()
            if spoil is not None:
                spoil(learner)
            instruments.before()
            learner.advance()
            instruments.after(2)
            places = {t.device.type for t in (*learner.hidden, *learner.optimizer.tensors().values())}
            return "" if places == {device} else f"state on {places}"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    came: dict[str, str] = {name: step(options) for name, options in CASES.items()}
    came |= {name: step({"optimizer": "adam"}, spoil) for name, spoil in SABOTAGE.items()}
    json.dump(came, sys.stdout)
