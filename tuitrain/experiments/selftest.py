"""Checks that a device does what tuitrain promises: compares small runs bit for bit, and measures their speed.

For people with a GPU that has not been tested yet, so each check describes what it found. Knows no screen.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tuitrain.charlstm import footprint, runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine import devices
from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.restore_points import RestorePoints
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.usage import Usage
from tuitrain.errors import UsageError
from tuitrain.protocol.codec import plain
from tuitrain.protocol.events import MachineUsed
from tuitrain.run import checkpoints
from tuitrain.specs import CELLS
from tuitrain.telemetry.units import number, size

OK, FAILED, NOT_APPLICABLE = "ok", "failed", "not applicable"
FORMATS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Type of the output of a recurrent layer in each precision."""
ON_CPU = ("fp32", "bf16")
CLOSE = 1e-4
"""Largest relative difference of losses between a GPU and a CPU after some steps in fp32."""
ALIKE = 1e-5
"""Largest relative difference of losses between a CUDA graph and eager steps, which should be 0."""
AFTER_FAILURE = 50
TIMED = 0.05
"""Seconds of timing a model per step of a comparison."""
SMALL: dict[str, Any] = {"layers": 2, "hidden": 32, "embedding": 16, "batch_size": 4, "bptt": 16, "lr": 0.01,
                         "threads": 1, "warmup": 0, "clip": 1.0}
SHAPES = {"cpu": ((2, 128, 50, 50),), "cuda": ((2, 128, 50, 50), (3, 512, 128, 30))}
"""Layers, hidden units, batch size and characters (bptt) of the models that are timed."""


@dataclass(frozen=True, slots=True)
class Check:
    """Name of a check, its result (`OK`, `FAILED` or `NOT_APPLICABLE`) and details in words."""

    name: str
    state: str
    detail: str


class _Failed(Exception):
    """The device does not do what is promised."""


class _NotApplicable(Exception):
    """There is nothing to check on this device."""


def run(device: str, steps: int) -> Iterator[Check]:
    """Run all checks on one thread and yield each result; `steps` is the length of each comparison."""
    runtime.apply(1)  # small models are slower on more threads, and many times slower on a busy machine
    for name, look in Selftest(device, steps).checks():
        yield outcome(name, look)


def outcome(name: str, look: Callable[[], str]) -> Check:
    """Run one check; an error of any kind ends only this check."""
    try:
        return Check(name, OK, look())
    except _NotApplicable as why:
        return Check(name, NOT_APPLICABLE, str(why))
    except _Failed as why:
        return Check(name, FAILED, str(why))
    except Exception as error:
        return Check(name, FAILED, f"{type(error).__name__}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Return the first line of an error message, which from a GPU may be a page long."""
    return (str(error).strip() or "no message").splitlines()[0]


def choices(option: str) -> tuple[str, ...]:
    """Return the allowed values of a training option."""
    [spec] = [spec for spec in fields(Config) if spec.name == option]
    return tuple(spec.metadata["choices"])


def repeated(checks: Iterable[Check]) -> set[tuple[str, str]]:
    """Return the (cell, optimizer) pairs whose rollback and resume were exact."""
    fine = {check.name for check in checks if check.state == OK}
    return {(cell, name) for cell, name in product(CELLS, choices("optimizer"))
            if fine >= {f"rollback, {name}", f"resume, {name}"}}


class Selftest:
    """The checks of one device, each a method that returns its result in words or raises."""

    def __init__(self, device: str, steps: int) -> None:
        self._device, self._steps = device, steps
        self._cpu = devices.kind(device) == "cpu"
        self._text = _text()
        self._refused = dict(self._without())
        self._formats = [name for name in FORMATS if name not in self._refused]

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield (name, check) in the order of the report."""
        yield "readings of the GPU", self._readings
        yield "the same run twice", self._twice
        yield "fp32 against the CPU", self._against_the_cpu
        yield "graph against eager", self._graph
        for optimizer in choices("optimizer"):
            yield f"rollback, {optimizer}", partial(self._rollback, optimizer)
            yield f"resume, {optimizer}", partial(self._resume, optimizer)
            yield f"skipped step, {optimizer}", partial(self._skipped_step, optimizer)
        yield "forced capture failure", self._failing_capture
        for precision in FORMATS:
            for cell, spec in CELLS.items():
                yield f"{spec.title} output, {precision}", partial(self._format, cell, precision)
        yield "snapshot fetched for saving", self._fetch
        yield "full snapshot store", self._store
        for shape in SHAPES[devices.kind(self._device)]:
            layers, hidden, batch, bptt = shape
            yield f"steps/s, {layers}x{hidden} B{batch} T{bptt}", partial(self._speed, *shape)

    def _without(self) -> Iterator[tuple[str, str]]:
        """Yield (precision, reason) for those that this device cannot train in; fp32 is taken for granted."""
        for name in FORMATS.keys() - {"fp32"}:
            if name not in choices("precision"):
                yield name, "not offered"
            elif self._cpu and name not in ON_CPU:
                yield name, "not on a CPU"
            else:
                try:
                    self._machine(precision=name, graph=False).learn()
                except (RuntimeError, UsageError) as error:
                    yield name, f"not here: {first_line(error)}"

    def _readings(self) -> str:
        if self._cpu:
            raise _NotApplicable("no GPU")
        [seen] = Usage(torch.device(self._device)).attend()
        assert isinstance(seen, MachineUsed)
        if seen.gpu_memory_total is None:
            raise _Failed("not even the memory can be read")
        load = "no load" if seen.gpu_load is None else f"load {seen.gpu_load:.0f} %"
        warmth = "no temperature" if seen.gpu_temperature is None else f"{seen.gpu_temperature:.0f} °C"
        return f"{load}, {warmth}, {size(seen.gpu_memory_total)} of memory"

    def _twice(self) -> str:
        rows = [self._learned(self._machine(), self._steps) for _ in range(2)]
        return self._equal(rows[0], rows[1], f"{self._steps} steps")

    def _against_the_cpu(self) -> str:
        if self._cpu:
            raise _NotApplicable("this is the CPU")
        # Not Adam, which turns the sign of an almost zero gradient into a whole step.
        here, there = (self._learned(self._machine(device=device, optimizer="sgd", lr=0.1, graph=False), self._steps)
                       for device in (self._device, "cpu"))
        off = _relative(here[:, 0], there[:, 0])
        if off > CLOSE:
            raise _Failed(f"losses differ by {off:.1e} relatively within {self._steps} steps")
        return f"losses within {off:.1e} relatively over {self._steps} steps"

    def _graph(self) -> str:
        if self._cpu:
            raise _NotApplicable("no graph on a CPU")
        eager, captured = self._machine(graph=False), self._machine()
        if captured.learner.replay is None:
            raise _Failed("; ".join(captured.remarks) or "it was not captured")
        a, b = self._learned(eager, self._steps), self._learned(captured, self._steps)
        off = _relative(a[:, 0], b[:, 0])
        if off > ALIKE:
            raise _Failed(f"losses differ by {off:.1e} relatively within {self._steps} steps")
        return f"{self._steps} steps, " + ("bit for bit" if np.array_equal(a, b) else f"within {off:.1e} relatively")

    def _rollback(self, optimizer: str) -> str:
        for cell, precision in product(CELLS, self._formats):
            machine = self._machine(cell=cell, optimizer=optimizer, precision=precision)
            self._learned(machine, 3)
            point = machine.freeze()
            rows, end = self._learned(machine, self._steps), machine.freeze()
            machine.thaw(point)
            self._same(rows, end, machine, f"{cell}, {precision}")
        return f"{', '.join(CELLS)} in {', '.join(self._formats)}: {self._steps} steps and all state, bit for bit"

    def _resume(self, optimizer: str) -> str:
        for cell, precision in product(CELLS, self._formats):
            machine = self._machine(cell=cell, optimizer=optimizer, precision=precision)
            self._learned(machine, 3)
            saved = _saved(machine.freeze())
            rows, end = self._learned(machine, self._steps), machine.freeze()
            again = self._machine(cell=cell, optimizer=optimizer, precision=precision, begin=saved)
            self._same(rows, end, again, f"{cell}, {precision}")
        return f"{', '.join(CELLS)} in {', '.join(self._formats)}: {self._steps} steps and all state, bit for bit"

    def _skipped_step(self, optimizer: str) -> str:
        machine = self._machine(optimizer=optimizer, graph=False)
        for at in (1, 4):
            while machine.progress.step < at - 1:
                machine.learn()
            before = machine.freeze().arrays()
            machine.learner.on_gradients = partial(_spoil, machine)
            machine.learn()
            machine.learner.on_gradients = None
            if _rows(machine, 1)[0, 3] != 1:
                raise _Failed(f"step {at} was not skipped, though its gradient was not a number")
            for name, value in machine.freeze().arrays().items():
                was = before.get(name, np.zeros_like(value))
                if name.startswith(("model.", "optimizer.")) and not _bits(value, was):
                    raise _Failed(f"step {at} was skipped and yet changed {name}")
        if not np.isfinite(self._learned(machine, self._steps)).all():
            raise _Failed("steps after a skipped step were not finite")
        return "the first and the fourth step changed nothing"

    def _failing_capture(self) -> str:
        machine = self._machine(graph=False)
        if self._cpu:  # a failed capture must leave the same state on every device
            machine.capture(_refuse)
        else:
            machine.learner.on_gradients = torch.cuda.synchronize  # a capture must not synchronise
            machine.capture()
            machine.learner.on_gradients = None
        if machine.learner.replay is not None:
            raise _Failed("a capture that waits for the GPU did not fail")
        remarks = len(machine.remarks)
        rows = self._learned(machine, AFTER_FAILURE)
        eager = self._learned(self._machine(graph=False), AFTER_FAILURE)
        result = self._equal(eager, rows, f"{AFTER_FAILURE} steps after")
        if not remarks:
            raise _Failed(f"{result}, but the failed capture was not reported")
        return result

    def _format(self, cell: str, precision: str) -> str:
        if precision in self._refused:
            raise _NotApplicable(self._refused[precision])
        machine = self._machine(cell=cell, precision=precision, graph=False)
        seen: set[torch.dtype] = set()

        def look(module: nn.Module, given: object, out: Any) -> None:
            if isinstance(module, nn.RNNBase):
                seen.add(out[0].dtype)

        hook = nn.modules.module.register_module_forward_hook(look)
        try:
            machine.learn()
        finally:
            hook.remove()
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in seen)
        if precision == "bf16" and self._device == "cpu" and cell != "lstm" and seen == {torch.float32}:
            raise _NotApplicable("autocast leaves it in fp32 on a CPU")
        if seen != {FORMATS[precision]}:
            raise _Failed(f"it is {names or 'unknown'}")
        return names

    def _fetch(self) -> str:
        machine = self._machine(hidden=128, embedding=128)
        self._learned(machine, 3)
        frozen = machine.freeze()
        began = time.perf_counter()
        fetched = frozen.arrays()
        seconds = time.perf_counter() - began
        if not all(_bits(fetched[name], tensor.cpu().numpy()) for name, tensor in frozen.tensors.items()):
            raise _Failed("the copy differs from the snapshot")
        return f"{size(frozen.bytes)} in {number(1000 * seconds)} ms, bit for bit"

    def _store(self) -> str:
        machine = self._machine(hidden=128, embedding=128)
        self._learned(machine, 2)
        room, taken = 16, 24
        points = RestorePoints(room * machine.freeze().bytes)
        before = self._memory()
        for _ in range(taken):
            machine.learn()
            points.add(machine.freeze(), "selftest", pinned=False)
        used = self._memory() - before
        if len(points) != room or points.bytes > points.budget:
            raise _Failed(f"{len(points)} snapshots are kept in room for {room}")
        if used > 1.5 * points.budget + (64 << 20):
            raise _Failed(f"{size(points.budget)} of snapshots take {size(used)}")
        run = footprint.snapshot_budget(machine.config, len(self._text.vocabulary))
        return f"{room} of {taken} kept, {size(points.bytes)} in {size(max(0, used))}; a run may use {size(run)}"

    def _speed(self, layers: int, hidden: int, batch: int, bptt: int) -> str:
        shape: dict[str, Any] = {"layers": layers, "hidden": hidden, "embedding": hidden, "batch_size": batch,
                                 "bptt": bptt}
        eager = self._machine(graph=False, **shape)
        rates = {"bare PyTorch": self._rate(_bare(eager)), "eager": self._rate(eager.learn)}
        if not self._cpu:
            captured = self._machine(**shape)
            if captured.learner.replay is not None:
                rates["captured"] = self._rate(captured.learn)
        return ", ".join(f"{name} {number(rate)}" for name, rate in rates.items())

    def _machine(self, *, graph: bool = True, begin: Snapshot | None = None, device: str | None = None,
                 **options: Any) -> Machine:
        """Return a machine with a small model, captured where possible, restored to `begin` if given."""
        device = device or self._device
        # Dropout is reproducible on a CPU; on a GPU that is not promised.
        dropout = 0.2 if self._cpu else 0.0
        config = Config.of({**SMALL, "precision": "fp32", "dropout": dropout, **options, "device": device})
        machine = Machine(config, self._text, first_knobs(config))
        if begin is not None:
            machine.thaw(begin)
        if graph:
            machine.capture()
        return machine

    def _learned(self, machine: Machine, steps: int) -> NDArray[np.float32]:
        """Train for this many steps and return their rows."""
        for _ in range(steps):
            machine.learn()
        return _rows(machine, steps)

    def _same(self, rows: NDArray[np.float32], end: Snapshot, machine: Machine, what: str) -> None:
        """Train and raise _Failed unless rows and final state are the same as those given."""
        self._equal(rows, self._learned(machine, self._steps), what)
        state = machine.freeze().arrays()
        differing = [name for name, value in end.arrays().items() if not _bits(value, state[name])]
        if differing:
            raise _Failed(f"{what}: after the same steps {differing[0]} and {len(differing) - 1} more differ")

    def _equal(self, a: NDArray[np.float32], b: NDArray[np.float32], what: str) -> str:
        if not _bits(a, b):
            first = int(np.flatnonzero((a != b).any(1))[0])
            raise _Failed(f"{what}: the numbers of step {first + 1} differ, the losses by up to "
                          f"{_relative(a[:, 0], b[:, 0]):.1e} relatively")
        return f"{what}, bit for bit"

    def _memory(self) -> int:
        """Return the bytes in use by this process, or on the GPU."""
        if self._cpu:
            return int(psutil.Process().memory_info().rss)
        torch.cuda.synchronize()
        return int(torch.cuda.memory_allocated(self._device))

    def _rate(self, step: Callable[[], None]) -> float:
        """Return steps per second, measured after some warm-up steps."""
        for _ in range(1 if self._cpu else 20):
            step()
        self._wait()
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < self._steps * TIMED:
            for _ in range(1 if self._cpu else 50):
                step()
                count += 1
            self._wait()
        return count / (time.perf_counter() - began)

    def _wait(self) -> None:
        if not self._cpu:
            torch.cuda.synchronize()


def _text() -> Corpus:
    """Return a corpus of random words; its letters do not matter."""
    draw = random.Random(5)
    words = ["the", "tide", "came", "late", "and", "nobody", "saw", "harbour", "bell", "rang", "twice"]
    text = " ".join(draw.choice(words) + draw.choice(["", "", ",", "."]) for _ in range(6000))
    return corpus.build("selftest", text, 0.1)


def _rows(machine: Machine, steps: int) -> NDArray[np.float32]:
    """Return the newest rows: loss, norm and the other columns of the learner."""
    return machine.learner.rows.remembered(steps)


def _refuse(step: Callable[[], None]) -> Callable[[], None]:
    """Stand in for a capture that fails after a warm-up step."""
    step()
    raise RuntimeError("forced")


def _spoil(machine: Machine) -> None:
    gradient = machine.model.head.weight.grad
    assert gradient is not None
    gradient.fill_(torch.nan)


def _saved(frozen: Snapshot) -> Snapshot:
    """Save a snapshot to a file and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        mark = checkpoints.save(Path(folder), frozen.arrays(), branch=0, step=frozen.step, reason="selftest",
                                pinned=False, values=plain(frozen.values))
        return snapshot_of(mark, checkpoints.load(Path(folder), mark))


def _bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def _relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-6)).max())


def _bare(machine: Machine) -> Callable[[], None]:
    """Return a step of a plain PyTorch loop for a model of the same shape."""
    config = machine.config
    device, hidden = machine.device, config.hidden
    characters = len(machine.corpus.vocabulary)
    model = nn.ModuleDict({"in": nn.Embedding(characters, hidden), "out": nn.Linear(hidden, characters),
                           "lstm": nn.LSTM(hidden, hidden, config.layers, batch_first=True)}).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, fused=True)
    ids = torch.from_numpy(machine.corpus.ids.astype(np.int64)).to(device)
    length = config.batch_size * config.bptt
    state: list[tuple[Tensor, Tensor] | None] = [None]

    def step() -> None:
        inputs, targets = ids[:length].view(config.batch_size, -1), ids[1 : length + 1].view(config.batch_size, -1)
        out, after = model["lstm"](model["in"](inputs), state[0])
        loss = F.cross_entropy(model["out"](out).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state[0] = (after[0].detach(), after[1].detach())

    return step
