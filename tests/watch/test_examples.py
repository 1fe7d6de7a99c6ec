"""The examples of docs/watch.md run, each with few steps, and what they buy is in their journals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.watch.loops import of_kind, told
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import Capabilities

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = DOCS.parent / "corpora" / "harbour.txt"


def run(name: str, *arguments: str, folder: Path) -> list[e.Event]:
    done = subprocess.run([sys.executable, str(DOCS / "examples" / name), *arguments], capture_output=True, text=True,
                          env={**os.environ, "TUITRAIN_RUN": str(folder), "OMP_NUM_THREADS": "1"}, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "tuitrain" in line] == [
        f"tuitrain: watching; `tuitrain attach {folder}` in another terminal is the cockpit"]
    events = told(folder)
    assert isinstance(events[-1], e.RunEnded) and events[-1].reason == "finished"
    return events


@pytest.mark.parametrize(("name", "arguments", "steps", "groups"), [
    ("mlp.py", ["250"], 250, {"first", "middle", "last"}),
    ("transformer.py", [str(TEXT), "20"], 20, {"letters", "places", "blocks", "head"}),
    ("amp.py", ["30"], 30, {"0", "2"})])
def test_an_example_runs(name: str, arguments: list[str], steps: int, groups: set[str], tmp_path: Path) -> None:
    events = run(name, *arguments, folder=tmp_path / "r")
    assert events[-1].step == steps
    assert {group for done in of_kind(events, e.StepsDone) for group in done.norms} == groups
    [start] = of_kind(events, e.RunStarted)
    offers = Capabilities.of(start.facts)
    assert not offers.knobs["clip"] and start.facts["norms"] == "before clipping"
    assert bool(offers.commands["Evaluate"]) == (name == "amp.py")
    if name == "mlp.py":
        assert of_kind(events, e.Evaluated)


def test_the_document_names_every_example() -> None:
    words = (DOCS / "watch.md").read_text()
    for path in (DOCS / "examples").glob("*.py"):
        assert f"examples/{path.name}" in words, path.name
