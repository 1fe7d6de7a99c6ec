"""The callbacks in the real Trainers: what they show, what can be steered, and what is said to be impossible."""

import importlib.util
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.watch.loops import of_kind, told, who
from tests.watch.test_examples import run
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import Capabilities

needs_lightning = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="lightning is not installed")
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None or importlib.util.find_spec("accelerate") is None,
    reason="transformers or accelerate is not installed")


@needs_lightning
def test_the_example_with_lightning_runs(tmp_path: Path) -> None:
    events = run("with_lightning.py", "12", folder=tmp_path / "r")
    assert events[-1].step == 12, "two batches to a step of the optimizer"
    [start] = of_kind(events, e.RunStarted)
    assert start.facts["norms"] == "before clipping" and start.facts["knobs"]["clip"] == 1.0
    assert {g for done in of_kind(events, e.StepsDone) for g in done.norms} == {"body", "head"}


@needs_transformers
def test_the_example_with_transformers_runs(tmp_path: Path) -> None:
    events = run("with_transformers.py", "8", folder=tmp_path / "r")
    assert events[-1].step == 8 and len(of_kind(events, e.Evaluated)) == 4
    [start] = of_kind(events, e.RunStarted)
    offers = Capabilities.of(start.facts)
    assert start.facts["norms"] == "after your own clipping" and "resume_from_checkpoint" in offers.commands["Rollback"]
    assert not offers.knobs["clip"], "max_grad_norm is read at each step"
    losses = [loss for done in of_kind(events, e.StepsDone) for loss in done.loss]
    assert len(losses) == 8 and all(3 < loss < 5 for loss in losses), "about log 50, whatever the parts"


class Asks:
    """Asks for something once a run is at a step, from a thread of its own."""

    def __init__(self, pilot: Any, *asked: tuple[int, c.Command]) -> None:
        self._thread = threading.Thread(target=self._ask, args=(pilot, asked), daemon=True)
        self._thread.start()

    def _ask(self, pilot: Callable[[], Any], asked: tuple[tuple[int, c.Command], ...]) -> None:
        for step, command in asked:
            deadline = time.monotonic() + 60
            while (pilot() is None or pilot().steps < step) and time.monotonic() < deadline:
                time.sleep(0.001)
            pilot()._loop.orders.inbox.put(command)


@needs_lightning
@pytest.mark.filterwarnings("ignore")
def test_lightning_clips_at_the_knob_in_that_very_step_and_stops(tmp_path: Path) -> None:
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    import tuitrain.lightning

    norms: list[float] = []

    class Model(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return (self.layer(batch[0]) - 100).square().mean()

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), 1e-4)
            optimizer.register_step_post_hook(lambda *_: norms.append(float(nn.utils.get_total_norm(
                [p.grad for p in self.parameters()]))))
            return optimizer

    callback = tuitrain.lightning.Pilot(run=tmp_path / "r")
    Asks(lambda: callback.pilot, (3, c.SetKnob(name="clip", value=0.125, **who())), (20, c.Stop(**who("s"))))
    trainer = Trainer(max_steps=100_000, gradient_clip_val=2.0, accelerator="cpu", logger=False,
                      enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                      callbacks=[callback])
    trainer.fit(Model(), DataLoader(TensorDataset(torch.randn(64, 2)), 4))
    assert norms[0] == pytest.approx(2.0, rel=1e-3) and norms[-1] == pytest.approx(0.125, rel=1e-3)
    assert len(norms) < 100_000
    assert told(tmp_path / "r")[-1].reason == "stopped"  # type: ignore[attr-defined]
