"""Events as an engine would tell them, for tests that need no engine: of the screen, the fold and the diagnosis."""

import math
from typing import Any

from tuitrain.protocol import events as e

CONFIG: dict[str, Any] = {
    "lr": 0.003, "clip": 1.0, "temperature": [0.5, 0.75, 1.0], "prompt": "random", "steps": 1000, "batch_size": 16,
    "bptt": 64, "on_divergence": "rollback", "clip_kind": "norm", "layers": 2, "hidden": 128, "embedding": 128,
    "optimizer": "adam", "lr_schedule": "constant"}
FACTS = {"train": 90_000, "validation": 10_000, "parameters": 283_981, "steps_per_epoch": 88}
START = e.RunStarted(config=CONFIG, vocabulary="ab", versions={}, device="cpu", threads=2, precision="fp32",
                     facts=FACTS)
CLOCK = 1_700_000_000.0


def steps(first: int, count: int, *, loss: float | None = None, norm: float = 0.3, branch: int = 0) -> e.StepsDone:
    losses = tuple(1.3 + 2.0 * math.exp(-(first + i) / 200) if loss is None else loss for i in range(count))
    norms = tuple(norm * (1 + 0.3 * math.sin(first + i)) for i in range(count))
    return e.StepsDone(branch=branch, first_step=first, epoch=first / 88, loss=losses, grad_norm=norms, every=1,
                       clipped=tuple(int(n > 1) for n in norms), skipped=(0,) * count, lr=(0.003,) * count,
                       clip=(1.0,) * count, norms={"embedding": norms, "layer 1": norms, "head": norms}, seconds=1.0)


def healthy() -> list[e.Event]:
    """A run of 600 steps with an evaluation, restore points and a sample."""
    story: list[e.Event] = [START]
    for first in range(1, 601, 50):
        story.append(steps(first, 50))
    story += [
        e.SnapshotTaken(branch=0, step=300, id="", by="", reason="interval", pinned=False, bytes=3_450_000, point="s7"),
        e.CheckpointSaved(branch=0, step=500, id="", by="", reason="interval", path="checkpoints/b0-s500.safetensors",
                          bytes=3_450_000, seconds=0.02, params_sha256="0"),
        e.Evaluated(branch=0, step=512, loss=1.6, bpc=1.6 / math.log(2), best=True, characters=10_000,
                    reason="interval", seconds=1.0),
        sample("The harbour lay quiet that evening, and nobody spoke of the boats that had not come home.\n"),
    ]
    return story


def sample(text: str) -> e.SamplePiece:
    return e.SamplePiece(branch=0, step=512, temperature=0.75, prompt="It was late. ", text=text, first=True,
                         bits=tuple(float(i % 9) for i in range(len(text))))
