"""The bench's row of what durability costs: each share is the time of one act over its default interval."""

import itertools
from pathlib import Path

from tuitrain.experiments.bench import Shape
from tuitrain.experiments.durability import durability


def test_each_share_is_an_act_over_its_interval(corpus: Path) -> None:
    ticks = itertools.count()
    found = durability(corpus, Shape(1, 8, 4, 8), 3, lambda: float(next(ticks)))  # each act takes a second
    names = [name.split(", every ")[0] for name in found]
    assert names == ["step", "journal", "restore point", "checkpoint"]
    assert found["step"] == 1.0 and found["journal, every 0.25 s"] == 4.0
    assert found["checkpoint, every 60 s"] == 1 / 60
