"""Mixed precision with a gradient scaler, four backward passes to a step: python docs/examples/amp.py [STEPS]"""

import sys

import torch
from torch import Tensor, nn

import tuitrain

STEPS, PARTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000, 4
device = "cuda" if torch.cuda.is_available() else "cpu"

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(32, 256), nn.GELU(), nn.Linear(256, 10)).to(device)
optimizer = torch.optim.AdamW([{"params": model[0].parameters(), "lr": 1e-3},
                               {"params": model[2].parameters(), "lr": 3e-3}])
scaler = torch.amp.GradScaler(device)
rule = torch.randn(32, 10, device=device)

pilot = tuitrain.watch(model, optimizer, total_steps=STEPS, loss="cross entropy")
pilot.register("scaler", scaler)


def part() -> Tensor:
    """The loss of a quarter of a batch."""
    x = torch.randn(64, 32, device=device)
    with torch.autocast(device, dtype=torch.bfloat16 if device == "cpu" else torch.float16):
        return nn.functional.cross_entropy(model(x).float(), (x @ rule).argmax(1))


for _ in range(STEPS):
    losses = []
    for _ in range(PARTS):
        loss = part()
        scaler.scale(loss / PARTS).backward()
        losses.append(loss.detach())
    scaler.unscale_(optimizer)
    pilot.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    if not pilot.step(torch.stack(losses).mean(), scale=scaler.get_scale()):
        break
print(f"the last loss was {losses[-1].item():.4f}")
