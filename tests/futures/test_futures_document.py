"""docs/futures.md says what the code does: its constants, its columns, and its example, which runs."""

import re
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.futures.conftest import MIDDLE
from tuitrain.futures import comparing
from tuitrain.futures.telling import HEADS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "futures.md").read_text()


def test_each_number_beside_a_name_in_capitals_is_that_constant() -> None:
    named = re.findall(r"`([A-Z_]+)` ([\d.]+)", DOCUMENT)
    assert len(named) >= 6
    for name, value in named:
        assert float(value) == getattr(comparing, name), name


def test_every_column_is_explained() -> None:
    explained = {name.strip() for row in re.findall(r"^\| ([a-z ,]+) \| ", DOCUMENT, flags=re.MULTILINE)
                 for name in row.split(",")}
    assert {head for head in HEADS if head != "arm"} <= explained


def test_the_example_for_a_scheduler_runs(ended: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    for there, here in (("runs/copperfield-1", str(ended.folder.path)), ("3000", str(MIDDLE)), ("600", "10"),
                        ("/scratch", str(tmp_path))):
        assert there in code
        code = code.replace(there, here)
    exec(compile(code, "docs/futures.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["arm", "as it is", "lr x0.25", "clip 1, lr x0.25"]
