"""The short form of the campaign: each fault a few times, on real processes."""

import random
from pathlib import Path

import pytest

from tests.faults.attaching import SIZES, attach
from tests.faults.campaign import PATIENCE
from tests.faults.table import FAULTS, make

pytestmark = pytest.mark.slow

SHORT = {"kills": 4, "full-disk": 1, "power-cuts": 2, "damage": 60, "signals": 1, "garbage": 300, "drops": 2,
         "races": 2}


def test_every_fault_has_a_short_form() -> None:
    assert SHORT.keys() | {"attach"} == FAULTS.keys()


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nobody_disturbed(name: str, tmp_path: Path) -> None:
    try:
        row = make(name, SHORT[name], tmp_path / name, seed=5)
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"not possible here: {error}")
    assert not row.wrong
    assert row.times >= SHORT[name]


def test_attaching_is_measured_until_the_picture_stays(tmp_path: Path) -> None:
    row = attach(1, tmp_path / "attach", random.Random(5), steps=1200, trained=400, sizes=SIZES[:1], limit=PATIENCE)
    assert not row.wrong and row.times >= 1
    assert "local 120x40" in row.remark
