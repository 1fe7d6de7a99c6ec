"""A plain loop under DistributedDataParallel, watched in every process: looped.py STEPS [resume]

Each process writes what it ended with into rank<r>.json: the sum of its weights, its next random number, its steps.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import tuitrain

STEPS, RESUME, DRIFT = int(sys.argv[1]), "resume" in sys.argv, "drift" in sys.argv
ALONE, BROKEN = "alone" in sys.argv, "broken" in sys.argv


class Counter:
    """A data loader that can be saved: each process has its own place in the data."""

    def __init__(self, rank: int) -> None:
        self.rank, self.batches = rank, 0

    def __iter__(self) -> "Counter":
        return self

    def __next__(self) -> torch.Tensor:
        self.batches += 1
        return torch.randn(8, 4, generator=torch.Generator().manual_seed(1000 * self.rank + self.batches))

    def state_dict(self) -> dict[str, Any]:
        return {"rank": self.rank, "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["rank"] != self.rank or (BROKEN and self.rank):
            raise ValueError("the state of another process")
        self.batches = state["batches"]


def main() -> int:
    several = "RANK" in os.environ
    rank = 0
    if several:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bare = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    model = DistributedDataParallel(bare) if several else bare
    torch.manual_seed(rank)  # each draws its own dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = Counter(rank)
    if ALONE and rank:
        pilot = None
    else:
        pilot = tuitrain.watch(model, optimizer, run="run", resume=RESUME, snapshot_every=20, checkpoint_every=50)
        pilot.register("loader", loader)

        @pilot.evaluate(every=25)
        def mean_of_all() -> torch.Tensor:
            here = torch.tensor(float(rank))
            if several and not ALONE:
                dist.all_reduce(here)  # hangs unless every process calls it
            return here

    wanted = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    going = True
    while going and (pilot is None or pilot.steps < STEPS) and loader.batches < 100_000:
        x = next(loader)
        loss = nn.functional.mse_loss(model(x), x @ wanted)
        optimizer.zero_grad()
        loss.backward()
        if pilot is None:
            optimizer.step()
            going = loader.batches < STEPS
            continue
        pilot.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if DRIFT and rank and pilot.steps == 30:
            with torch.no_grad():
                bare[0].weight[0, 0] += 1.0
        going = pilot.step(loss)
        time.sleep(0.002)
    if pilot is not None:
        pilot.close()
    Path(f"rank{rank}.json").write_text(json.dumps({
        "weights": sum(float(p.detach().double().sum()) for p in bare.parameters()), "random": float(torch.rand(())),
        "steps": 0 if pilot is None else pilot.steps, "batches": loader.batches}))
    if several:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
