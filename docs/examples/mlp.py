"""A plain MLP on made-up data, watched: python docs/examples/mlp.py [STEPS]

Beside the loop as it was: the lines that mention `pilot`.
"""

import sys

import torch
from torch import Tensor, nn

import tuitrain

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

torch.manual_seed(0)
hidden = torch.randn(32, 4)


def batch(rows: int) -> tuple[Tensor, Tensor]:
    """Numbers and a function of them that is not easy to guess."""
    x = torch.randn(rows, 32)
    return x, torch.sin(x @ hidden).sum(1, keepdim=True) + 0.1 * torch.randn(rows, 1)


model = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
held_out = batch(1000)

pilot = tuitrain.watch(model, optimizer, scheduler=scheduler, total_steps=STEPS, loss="squared error",
                       groups={"first": "0", "middle": "2", "last": "4"})


@pilot.evaluate(every=200)
def validation() -> Tensor:
    with torch.no_grad():
        return nn.functional.mse_loss(model(held_out[0]), held_out[1])


@pilot.sample(every="30s")
def first_answers() -> dict[str, Tensor]:
    with torch.no_grad():
        return {"wanted": held_out[1][:5, 0], "given": model(held_out[0][:5])[:, 0]}


for _ in range(STEPS):
    x, y = batch(256)
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    pilot.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if not pilot.step(loss):
        break
print(f"the last loss was {loss.item():.4f}")
