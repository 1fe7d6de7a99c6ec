"""A small run that has ended, with a checkpoint in its middle, to race from."""

from collections.abc import Callable

import pytest

from tests.conftest import Run
from tuitrain.protocol import commands as c
from tuitrain.run.directory import RunDirectory

MIDDLE, END = 60, 100


@pytest.fixture
def ended(start: Callable[..., Run]) -> Run:
    """A run of 100 steps with a checkpoint of step 60."""
    run = start(steps=0, clip=1.0, on_divergence="warn", dropout=0.1)
    run.to_step(MIDDLE)
    run.answer(c.SaveCheckpoint)
    run.to_step(END)
    run.events += list(run.trainer.reporter.flush())
    run.stop()
    return run


@pytest.fixture
def folder(ended: Run) -> RunDirectory:
    return ended.folder
