"""The short form of the campaign: each fault a few times, on real processes."""

from pathlib import Path

import pytest

from tests.faults.campaign import FAULTS, make

pytestmark = pytest.mark.slow

SHORT = {"kills": 4, "full-disk": 1, "power-cuts": 2, "damage": 60, "signals": 1, "garbage": 300, "drops": 2}


def test_every_fault_has_a_short_form() -> None:
    assert SHORT.keys() == FAULTS.keys()


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nobody_disturbed(name: str, tmp_path: Path) -> None:
    try:
        row = make(name, SHORT[name], tmp_path / name, seed=5)
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"not possible here: {error}")
    assert not row.wrong
    assert row.times >= SHORT[name]
