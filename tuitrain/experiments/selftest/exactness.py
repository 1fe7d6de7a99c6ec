"""Whether runs repeat: twice, after a rollback, after a resume, after a skipped step, as a CUDA graph, on a CPU."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import torch

from tuitrain.charlstm.machine import Machine
from tuitrain.experiments.selftest.checks import Failed, NotApplicable
from tuitrain.experiments.selftest.small import Small, bits, relative, rows, saved
from tuitrain.specs import CELLS

CLOSE = 1e-4
"""Largest relative difference of losses between a GPU and a CPU after some steps in fp32."""
ALIKE = 1e-5
"""Largest relative difference of losses between a CUDA graph and eager steps, which should be 0."""
AFTER_FAILURE = 50


class Exactness:
    """Checks that return what they found in words, or raise Failed or NotApplicable."""

    def __init__(self, small: Small) -> None:
        self._small, self._steps = small, small.steps

    def twice(self) -> str:
        rows = [self._small.learned(self._small.machine(), self._steps) for _ in range(2)]
        return self._small.equal(rows[0], rows[1], f"{self._steps} steps")

    def against_the_cpu(self) -> str:
        if self._small.cpu:
            raise NotApplicable("this is the CPU")
        # Not Adam, which turns the sign of an almost zero gradient into a whole step.
        machines = (self._small.machine(device=device, optimizer="sgd", lr=0.1, graph=False)
                    for device in (self._small.device, "cpu"))
        here, there = (self._small.learned(machine, self._steps) for machine in machines)
        off = relative(here[:, 0], there[:, 0])
        if off > CLOSE:
            raise Failed(f"losses differ by {off:.1e} relatively within {self._steps} steps")
        return f"losses within {off:.1e} relatively over {self._steps} steps"

    def graph(self) -> str:
        if self._small.cpu:
            raise NotApplicable("no graph on a CPU")
        eager, captured = self._small.machine(graph=False), self._small.machine()
        if captured.learner.replay is None:
            raise Failed("; ".join(captured.remarks) or "it was not captured")
        a, b = self._small.learned(eager, self._steps), self._small.learned(captured, self._steps)
        off = relative(a[:, 0], b[:, 0])
        if off > ALIKE:
            raise Failed(f"losses differ by {off:.1e} relatively within {self._steps} steps")
        return f"{self._steps} steps, " + ("bit for bit" if np.array_equal(a, b) else f"within {off:.1e} relatively")

    def rollback(self, optimizer: str) -> str:
        for cell, precision in product(CELLS, self._small.formats):
            machine = self._small.machine(cell=cell, optimizer=optimizer, precision=precision)
            self._small.learned(machine, 3)
            point = machine.freeze()
            rows, end = self._small.learned(machine, self._steps), machine.freeze()
            machine.thaw(point)
            self._small.same(rows, end, machine, f"{cell}, {precision}")
        return self._all()

    def resume(self, optimizer: str) -> str:
        for cell, precision in product(CELLS, self._small.formats):
            machine = self._small.machine(cell=cell, optimizer=optimizer, precision=precision)
            self._small.learned(machine, 3)
            begin = saved(machine.freeze())
            rows, end = self._small.learned(machine, self._steps), machine.freeze()
            again = self._small.machine(cell=cell, optimizer=optimizer, precision=precision, begin=begin)
            self._small.same(rows, end, again, f"{cell}, {precision}")
        return self._all()

    def _all(self) -> str:
        return f"{', '.join(CELLS)} in {', '.join(self._small.formats)}: {self._steps} steps and all state, bit for bit"

    def skipped_step(self, optimizer: str) -> str:
        machine = self._small.machine(optimizer=optimizer, graph=False)
        for at in (1, 4):
            while machine.progress.step < at - 1:
                machine.learn()
            before = machine.freeze().arrays()
            machine.learner.on_gradients = partial(_spoil, machine)
            machine.learn()
            machine.learner.on_gradients = None
            if rows(machine, 1)[0, 3] != 1:
                raise Failed(f"step {at} was not skipped, though its gradient was not a number")
            for name, value in machine.freeze().arrays().items():
                was = before.get(name, np.zeros_like(value))
                if name.startswith(("model.", "optimizer.")) and not bits(value, was):
                    raise Failed(f"step {at} was skipped and yet changed {name}")
        if not np.isfinite(self._small.learned(machine, self._steps)).all():
            raise Failed("steps after a skipped step were not finite")
        return "the first and the fourth step changed nothing"

    def failing_capture(self) -> str:
        machine = self._small.machine(graph=False)
        if self._small.cpu:  # a failed capture must leave the same state on every device
            machine.capture(_refuse)
        else:
            machine.learner.on_gradients = torch.cuda.synchronize  # a capture must not synchronise
            machine.capture()
            machine.learner.on_gradients = None
        if machine.learner.replay is not None:
            raise Failed("a capture that waits for the GPU did not fail")
        remarks = len(machine.remarks)
        rows = self._small.learned(machine, AFTER_FAILURE)
        eager = self._small.learned(self._small.machine(graph=False), AFTER_FAILURE)
        result = self._small.equal(eager, rows, f"{AFTER_FAILURE} steps after")
        if not remarks:
            raise Failed(f"{result}, but the failed capture was not reported")
        return result


def _refuse(step: Callable[[], None]) -> Callable[[], None]:
    """Stand in for a capture that fails after a warm-up step."""
    step()
    raise RuntimeError("forced")


def _spoil(machine: Machine) -> None:
    gradient = machine.model.head.weight.grad
    assert gradient is not None
    gradient.fill_(torch.nan)
