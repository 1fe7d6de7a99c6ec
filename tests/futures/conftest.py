"""A small run that has ended, with a checkpoint in its middle, to race from."""

from collections.abc import Callable

import pytest

from tests.conftest import Run

MIDDLE, END = 60, 100


def save_now(run: Run) -> None:
    """A pinned checkpoint of the present step on disk, without a step of training."""
    run.trainer.saves.submit(run.machine.freeze(), "asked for", pinned=True)
    assert run.trainer.saves._saver.wait(120)


@pytest.fixture
def ended(start: Callable[..., Run]) -> Run:
    """A run of 100 steps with a checkpoint of step 60."""
    run = start(steps=0, clip=1.0, on_divergence="warn", dropout=0.1)
    run.to_step(MIDDLE)
    save_now(run)
    run.to_step(END)
    run.events += list(run.trainer.reporter.flush())
    run.stop()
    return run
