"""Checks that a device does what tuitrain promises: compares small runs bit for bit, and measures their speed.

For people with a GPU that has not been tested yet, so each check describes what it found. Knows no screen.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product

from tuitrain.charlstm import runtime
from tuitrain.engine import devices
from tuitrain.experiments.selftest.abilities import Abilities
from tuitrain.experiments.selftest.checks import FAILED, NOT_APPLICABLE, OK, Check, outcome
from tuitrain.experiments.selftest.exactness import Exactness
from tuitrain.experiments.selftest.small import FORMATS, Small, choices
from tuitrain.specs import CELLS

__all__ = ["FAILED", "NOT_APPLICABLE", "OK", "Check", "Selftest", "outcome", "repeated", "run"]

SHAPES = {"cpu": ((2, 128, 50, 50),), "cuda": ((2, 128, 50, 50), (3, 512, 128, 30))}
"""Layers, hidden units, batch size and characters (bptt) of the models that are timed."""


def run(device: str, steps: int) -> Iterator[Check]:
    """Run all checks on one thread and yield each result; `steps` is the length of each comparison."""
    runtime.apply(1)  # small models are slower on more threads, and many times slower on a busy machine
    for name, look in Selftest(device, steps).checks():
        yield outcome(name, look)


def repeated(checks: Iterable[Check]) -> set[tuple[str, str]]:
    """Return the (cell, optimizer) pairs whose rollback and resume were exact."""
    fine = {check.name for check in checks if check.state == OK}
    return {(cell, name) for cell, name in product(CELLS, choices("optimizer"))
            if fine >= {f"rollback, {name}", f"resume, {name}"}}


class Selftest:
    """The checks of one device."""

    def __init__(self, device: str, steps: int) -> None:
        self._device = device
        small = Small(device, steps)
        self._exactness, self._abilities = Exactness(small), Abilities(small)

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield (name, check) in the order of the report."""
        yield "readings of the GPU", self._abilities.readings
        yield "the same run twice", self._exactness.twice
        yield "fp32 against the CPU", self._exactness.against_the_cpu
        yield "graph against eager", self._exactness.graph
        for optimizer in choices("optimizer"):
            yield f"rollback, {optimizer}", partial(self._exactness.rollback, optimizer)
            yield f"resume, {optimizer}", partial(self._exactness.resume, optimizer)
            yield f"skipped step, {optimizer}", partial(self._exactness.skipped_step, optimizer)
        yield "forced capture failure", self._exactness.failing_capture
        for precision in FORMATS:
            for cell, spec in CELLS.items():
                yield f"{spec.title} output, {precision}", partial(self._abilities.format, cell, precision)
        yield "snapshot fetched for saving", self._abilities.fetch
        yield "full snapshot store", self._abilities.store
        for shape in SHAPES[devices.kind(self._device)]:
            layers, hidden, batch, bptt = shape
            yield f"steps/s, {layers}x{hidden} B{batch} T{bptt}", partial(self._abilities.speed, *shape)
