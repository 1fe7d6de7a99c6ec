"""Each declared pane has its height in the layout, without which Textual gives it the space of all the others."""

import re
from pathlib import Path

import pytest

import tuitrain.ui
from tuitrain.ui.panes.registry import PANES

LAYOUT = (Path(tuitrain.ui.__file__).parent / "cockpit.tcss").read_text()
RULES = [(selectors.split(","), body) for selectors, body in re.findall(r"([^{}]+)\{([^}]*)\}", LAYOUT)]


@pytest.mark.parametrize("name", [spec.name for spec in PANES])
def test_a_pane_has_a_height(name: str) -> None:
    rules = [body for selectors, body in RULES if f"#{name}" in {selector.strip() for selector in selectors}]
    assert any(re.search(r"(^|[; ])height:", body) for body in rules), f"no height of #{name} in ui/cockpit.tcss"

