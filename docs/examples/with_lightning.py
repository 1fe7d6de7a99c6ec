"""The Lightning Trainer, watched (pip install lightning): python docs/examples/with_lightning.py [STEPS]"""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tuitrain.lightning

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000


class Regression(LightningModule):
    """A line through made-up points."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 64), nn.Tanh())
        self.head = nn.Linear(64, 1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.head(self.body(x)), y)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


torch.manual_seed(0)
x = torch.randn(2048, 16)
data = TensorDataset(x, torch.sin(x.sum(1, keepdim=True)))
trainer = Trainer(max_steps=STEPS, gradient_clip_val=1.0, accumulate_grad_batches=2, check_val_every_n_epoch=10,
                  accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                  enable_model_summary=False, callbacks=[tuitrain.lightning.Pilot(loss="squared error")])
trainer.fit(Regression(), DataLoader(data, 64, shuffle=True), DataLoader(data, 512))
