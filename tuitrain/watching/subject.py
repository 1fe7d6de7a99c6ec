"""The live state of a watched loop: model, optimizers, schedulers, random generators and registered objects.

Knows how to freeze and thaw them; knows nothing of commands, events or files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tuitrain.diagnosis.clip_advisor import LOOK_BACK
from tuitrain.engine import devices, environment
from tuitrain.engine.progress import Progress, knobs_of, progress_of
from tuitrain.engine.snapshot import ALIGNMENT, Snapshot, copied
from tuitrain.errors import NoRoom, Refused, is_out_of_memory
from tuitrain.knobs import Knobs
from tuitrain.telemetry.units import size as size_in_words
from tuitrain.watching import packing, rng
from tuitrain.watching.ranks.alone import Alone
from tuitrain.watching.rates import Landing, reference_of

RANDOM = "rng"
"""The name of the random generators in a snapshot."""


class Stateful(Protocol):
    """Anything that can be saved and restored: a scaler, a data loader, an average of the weights."""

    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """The properties of an optimizer that the advice on the clip depends on."""

    optimizer: str
    betas: tuple[float, ...]


class _ScriptData:
    """The script's data, which goes on from where the loop is after a rollback, so no batch comes a second time."""

    def skip(self, batches: int) -> None:
        """Do nothing: there is no place in the data to move."""


class Subject:
    """Everything that belongs to the state of a watched loop."""

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer], schedulers: Sequence[Stateful],
                 knobs: Knobs) -> None:
        self.model, self.optimizers, self.schedulers = bare(model), list(optimizers), list(schedulers)
        self.ranks = Alone()
        self.registered: dict[str, Stateful] = {}
        self.knobs = knobs
        self.reference = reference_of(self.optimizers[0])
        self.schedule, self.cursor = Landing(), _ScriptData()
        self.progress = Progress(in_nats=False)
        self.norms = np.zeros(LOOK_BACK, dtype=np.float32)
        self.config = recipe_of(self.optimizers[0])
        self.make_room: Callable[[int], bool] = lambda bytes: False
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._frozen: Snapshot | None = None
        self._unclaimed: dict[str, Any] = {}
        """Restored states of objects that are not registered yet, by name."""

    @property
    def factor(self) -> float:
        """Factor on the script's own learning rates at the next step."""
        landing = self.schedule.factor(self.progress.step + 1)
        return landing if self.knobs.lr == self.reference else landing * (self.knobs.lr / self.reference)

    @property
    def restores_data(self) -> bool:
        """Whether a stateful data loader is registered."""
        return any(hasattr(held, "__iter__") for held in self.registered.values())

    def register(self, name: str, held: Stateful) -> None:
        """Save and restore this object, too. Raises Refused if its state cannot be saved."""
        packing.pack({name: held.state_dict()})
        self.registered[name] = held
        self._frozen = None
        if name in self._unclaimed:
            held.load_state_dict(self._unclaimed.pop(name))

    def stepped(self) -> None:
        """Count an optimizer step."""
        self.progress.step += 1
        self._frozen = None

    def changed(self) -> None:
        """Discard the cached frozen copy after any other change of the state."""
        self._frozen = None

    def absorb(self, losses: Any, norms: Any) -> None:
        """Fold losses and norms of steps, each [steps], into the running statistics that snapshots carry."""
        self.norms = np.concatenate([self.norms, norms])[-len(self.norms):]
        self.progress.absorb(losses, np.isfinite(losses))

    def freeze(self) -> Snapshot:
        """Copy all state that the next steps depend on, except the data.

        Returns the same copy until something changes.
        """
        if self._frozen is not None and self._frozen.values == self._values():
            return self._frozen
        state: dict[str, Any] = {f"model.{name}": t for name, t in self._weights().items()}
        state |= {f"optimizer.{i}": optimizer.state_dict() for i, optimizer in enumerate(self.optimizers)}
        state |= {f"scheduler.{i}": self._plain(s.state_dict()) for i, s in enumerate(self.schedulers)}
        state |= {f"registered.{name}": held.state_dict() for name, held in self.registered.items()}
        state |= {RANDOM: rng.states(), "diagnosis.norms": torch.from_numpy(self.norms), **self.ranks.own_parts()}
        live = packing.pack(state)
        self._frozen = Snapshot(self.progress.branch, self.progress.step, self._copied(live), self._values(),
                                devices.event(self.device))
        return self._frozen

    def _copied(self, live: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copy tensors to the host, because GPU memory belongs to the script.

        Copies from a GPU are complete once the snapshot's `ready` event is. Where memory is short, older copies are
        dropped first. Raises NoRoom.
        """
        size = sum(t.numel() * t.element_size() for t in live.values())
        while True:
            try:
                return copied(live) if self.device.type == "cpu" else host_copies(live)
            except (RuntimeError, MemoryError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                words = str(error).splitlines()[0] if str(error) else "out of memory"
            if not self.make_room(size):
                raise NoRoom(f"no memory for a copy of the run's state ({size_in_words(size)}): {words}")

    @property
    def environment(self) -> dict[str, Any]:
        """The fields of RunStarted and RunResumed that name the machine."""
        device = str(self.device)
        cuda = self.device.type == "cuda"
        name = f"{device} ({torch.cuda.get_device_name(self.device)})" if cuda else device
        dtype = str(next((p.dtype for p in self.model.parameters()), torch.float32)).removeprefix("torch.")
        short = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(dtype, dtype)
        return {"versions": environment.versions(device if cuda else "cpu"), "device": name,
                "threads": torch.get_num_threads(), "precision": short, "processes": self.ranks.size}

    def _values(self) -> dict[str, Any]:
        return {"progress": asdict(self.progress), "schedule": self.schedule.state(), "knobs": asdict(self.knobs)}

    def thaw(self, snapshot: Snapshot) -> None:
        """Restore a snapshot, knobs included.

        Tensors are written in place wherever the optimizer still has the same ones.
        """
        self._frozen = None
        if snapshot.ready is not None:
            snapshot.ready.synchronize()
        state = packing.unpack(snapshot.tensors)
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(state[f"model.{name}"])
        for i, optimizer in enumerate(self.optimizers):
            _restore(optimizer, state[f"optimizer.{i}"])
        for i, scheduler in enumerate(self.schedulers):
            if f"scheduler.{i}" in state:
                scheduler.load_state_dict(state[f"scheduler.{i}"])
        own = {name.removeprefix("registered."): held for name, held in state.items()
               if name.startswith("registered.") or name == RANDOM}
        self._unclaimed = {}
        for name, held in self.ranks.choose(own, state.get("ranks")).items():
            self.give(name, held)
        self.norms = state["diagnosis.norms"].cpu().numpy()
        self.schedule.restore(dict(snapshot.values["schedule"]))
        self.progress, self.knobs = progress_of(snapshot.values), knobs_of(snapshot.values)
        self.ranks.thawed(snapshot)

    def give(self, name: str, state: Any) -> None:
        """Restore the state of a registered object, or keep it until an object of that name is registered.

        RANDOM is the name of the random generators.
        """
        if name == RANDOM:
            rng.restore(state)
        elif name in self.registered:
            self.registered[name].load_state_dict(state)
        else:
            self._unclaimed[name] = state

    def _weights(self) -> dict[str, Tensor]:
        """Return parameters and all buffers, even non-persistent ones; a shared tensor has its first name."""
        return {**{name: p.data for name, p in self.model.named_parameters()},
                **dict(self.model.named_buffers())}

    @staticmethod
    def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a scheduler's state without the functions and the optimizer that some schedulers put into it."""
        return {key: value for key, value in state.items() if not callable(value) and not isinstance(value, Optimizer)}


def bare(model: nn.Module) -> nn.Module:
    """Return the model itself, without DistributedDataParallel around it, so that one process can go on from several.
    """
    if torch.distributed.is_available() and isinstance(model, nn.parallel.DistributedDataParallel):
        return bare(model.module)
    return model


def recipe_of(optimizer: Optimizer) -> Recipe:
    """Return the name and decay rates of an optimizer."""
    group = optimizer.param_groups[0]
    betas = group.get("betas", (0.9, 0.999))
    return Recipe(type(optimizer).__name__.lower(), tuple(float(b) for b in betas))


def _restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore in place where the tensors have the same shapes, so that captured graphs and compiled code stay valid."""
    own = type(optimizer).load_state_dict is not Optimizer.load_state_dict
    live = optimizer.state_dict()
    if own or not _alike(live["state"], state["state"]) or len(live["param_groups"]) != len(state["param_groups"]):
        optimizer.load_state_dict(state)
        return
    with torch.no_grad():
        for key, held in live["state"].items():
            for name, value in state["state"][key].items():
                if isinstance(value, Tensor):
                    held[name].copy_(value)
                else:
                    held[name] = value
    for group, values in zip(optimizer.param_groups, state["param_groups"], strict=True):
        for name, value in values.items():
            if name == "params":
                continue
            if isinstance(value, Tensor) and isinstance(group.get(name), Tensor):
                group[name].copy_(value)
            else:
                group[name] = value


def _alike(live: Mapping[Any, Any], kept: Mapping[Any, Any]) -> bool:
    """Return whether both hold the same names with tensors of the same shapes."""
    return live.keys() == kept.keys() and all(
        isinstance(live[k], dict) and isinstance(kept[k], dict) and live[k].keys() == kept[k].keys()
        and all(isinstance(a, Tensor) == isinstance(kept[k][name], Tensor)
                and (not isinstance(a, Tensor) or a.shape == kept[k][name].shape) for name, a in live[k].items())
        for k in live)


def host_copies(live: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors into one block of host memory; copies from a GPU are queued on its stream and not awaited."""
    size = sum(-(-t.numel() * t.element_size() // ALIGNMENT) * ALIGNMENT for t in live.values())
    block, begin, copies = torch.empty(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available()), 0, {}
    for name, tensor in live.items():
        end = begin + tensor.numel() * tensor.element_size()
        copies[name] = block[begin:end].view(tensor.dtype).view(tensor.shape).copy_(
            tensor, non_blocking=tensor.is_cuda)
        begin += -(-(end - begin) // ALIGNMENT) * ALIGNMENT
    return copies


def check_not_sharded(model: nn.Module) -> None:
    """Raise Refused if the parameters of a model are sharded over several processes."""
    for name, parameter in model.named_parameters():
        if type(parameter.data) is not Tensor:
            raise Refused(f"{name} is a {type(parameter.data).__name__}: a model that is sharded over several "
                          "processes cannot be watched")
