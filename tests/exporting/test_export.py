"""What is written is what the journal has, as the formats' own readers read it."""

import csv
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.builders import steps
from tests.comparing.test_compare import LN2, evaluated, make, sample
from tuitrain.cli.main import main
from tuitrain.exporting import rows
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.run_state import RunState

NAN = math.nan


def odd(first: int, branch: int) -> e.StepsDone:
    """Six steps, thinned by four, with what is not finite."""
    return e.StepsDone(branch=branch, first_step=first, epoch=0.1, loss=(1.0, NAN, math.inf, 2.0, 2.5, 3.0),
                       grad_norm=(0.5, math.inf, NAN, 0.25, 0.125, 1.0), every=4, clipped=(1,), skipped=(0,),
                       lr=(0.001,), clip=(0.4,), norms={"head": (0.75,)}, seconds=1.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Branch 0 to step 200, then branch 1 from step 100 on: 101 to 106."""
    back = e.RolledBack(from_branch=0, from_step=200, to_step=100, branch=1, id="1", by="you", asked=None,
                        knobs={"lr": 0.003, "clip": 1.0},
                        point="s1", parent=0)
    return make(tmp_path, "run", evaluated(50, 2.5), back, odd(101, 1), replace(evaluated(106, 2.0), branch=1),
                sample("a <b> & $5 bell"),
                loss=1.4)


def export(run: RunDirectory, to: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["export", str(run.path), "--to", to, "--out", str(out)]) == 0
    return capsys.readouterr().out


def test_csv_has_a_row_for_each_step_and_units_in_its_header(run: RunDirectory, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.csv"
    assert "206 rows, 15 columns" in export(run, "csv", out, capsys)
    with open(out, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 206 and list(table[0]) == [column.head for column in rows.sheet(run).columns]
    assert float(table[0]["loss [bits per character]"]) == pytest.approx(1.4 / LN2, abs=1e-15)
    assert [row["on_line"] for row in table] == ["1"] * 100 + ["0"] * 100 + ["1"] * 6
    assert [row["loss [bits per character]"] for row in table[201:203]] == ["nan", "inf"]
    assert [row["lr"] for row in table[200:]] == ["0.001", "", "", "", "", ""]  # thinned: not told
    assert [row["val_loss [bits per character]"] for row in table if row["val_loss [bits per character]"]] == [
        repr(2.5 * LN2 / LN2), "2.0"]
    assert table[49]["characters [characters]"] == str(50 * 16 * 64)
    assert main(["export", str(run.path), "--to", "csv", "--out", "-"]) == 0
    assert capsys.readouterr().out.encode().replace(b"\r\n", b"\n") == out.read_bytes().replace(b"\r\n", b"\n")


def test_where_a_thinned_report_begins_does_not_move_its_numbers(tmp_path: Path) -> None:
    run = make(tmp_path, "thin", odd(102, 0), count=100)
    told = [row for row in rows.sheet(run).rows() if row[1] > 100 and row[9] is not None]
    assert [row[1] for row in told] == [105], "the step for which (step - 1) is divisible by 4"


def test_parquet_is_read_by_its_own_reader(run: RunDirectory, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'tuitrain[export]'")
    out = tmp_path / "x.parquet"
    export(run, "parquet", out, capsys)
    table = pq.read_table(out)
    assert table.num_rows == 206 and table.column_names == [column.name for column in rows.sheet(run).columns]
    assert table.schema.field("loss").metadata[b"unit"] == b"bits per character"
    assert json.loads(table.schema.metadata[b"tuitrain"])["config"]["batch_size"] == 16
    loss, lr = table["loss"].to_pylist(), table["lr"].to_pylist()
    assert math.isnan(loss[201]) and loss[202] == math.inf and lr[200:] == [0.001] + [None] * 5
    assert table["on_line"].to_pylist().count(True) == 106 and table["step"].type == "int64"


def test_tensorboard_is_read_by_its_own_reader(run: RunDirectory, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                                 reason="tensorboard is not installed: pip install 'tuitrain[export]'")
    out = tmp_path / "boards"
    export(run, "tensorboard", out, capsys)
    assert sorted(path.name for path in out.iterdir()) == ["branch-0", "line"]
    line = reader.EventAccumulator(str(out / "line"), size_guidance={reader.SCALARS: 0})
    line.Reload()
    losses = line.Scalars("loss")
    assert [x.step for x in losses] == [*range(1, 101), *range(101, 107)] and math.isnan(losses[101].value)
    assert losses[0].value == pytest.approx(1.4 / LN2, rel=1e-6) and losses[0].wall_time == pytest.approx(1002.0)
    assert [(x.step, round(x.value, 6)) for x in line.Scalars("val_loss")] == [(50, 2.5), (106, 2.0)]
    assert [x.step for x in line.Scalars("lr")][-1] == 101 and "config" in line.Tags()["tensors"]


def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'tuitrain[export]'")


def test_svg_is_a_picture_with_text(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matplotlib()
    out = tmp_path / "x.svg"
    export(run, "svg", out, capsys)
    root = ElementTree.parse(out).getroot()
    words = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert root.tag.endswith("svg") and "loss, bits per character" in words and "gradient norm" in words
    assert "validation" in words and "not finite" in words
    once = out.read_bytes()
    out.unlink()
    export(run, "svg", out, capsys)
    assert out.read_bytes() == once, "the same run gives the same file"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_page_that_needs_nothing_else(run: RunDirectory, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    matplotlib()
    out = tmp_path / "x.html"
    export(run, "html", out, capsys)
    tags = Tags()
    tags.feed(out.read_text())
    assert "svg" in tags.seen and "script" not in tags.seen and "b" in tags.seen
    assert all(link.startswith("#") for link in tags.links), "nothing is fetched"
    assert "a <b> & $5 bell" in tags.text and "back from step 200 to 100" in tags.text
    assert "bits per character" in tags.text


@pytest.mark.parametrize("loss", [0.0, NAN, 1e30])
def test_a_strange_run_is_drawn(tmp_path: Path, loss: float) -> None:
    matplotlib()
    from tuitrain.exporting import to_html

    state = RunState()
    state.fold(steps(1, 5, loss=loss))
    assert "<svg" in to_html.page(state, "a $strange$ <run>")


def test_a_loop_of_ones_own_is_exported_in_its_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = EVERYTHING.to_facts()
    facts["capabilities"]["loss"] = {"name": "loss", "short": "", "scale": 1.0}
    run = make(tmp_path, "theirs", facts=facts, loss=0.25, bptt=None, batch_size=None)
    assert main(["export", str(run.path), "--to", "csv", "--out", "-"]) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert table[0]["loss [loss]"] == "0.25" and table[0]["characters [characters]"] == ""


def test_bad_requests_get_one_line_and_leave_nothing(run: RunDirectory, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    empty = make(tmp_path, "empty", count=0)
    for words, said in ((["--to", "csv", "--out", str(taken)], "is there already"),
                        (["--to", "svg", "--out", "-"], "only csv goes to standard output"),
                        (["--to", "csv", "--out", str(tmp_path / "no" / "x.csv")], "No such file")):
        assert main(["export", str(run.path), *words]) in (1, 2)
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    assert main(["export", str(empty.path), "--to", "csv", "--out", str(tmp_path / "e.csv")]) == 1
    assert "no steps to export" in capsys.readouterr().err
    assert taken.read_text() == "mine" and not list(tmp_path.glob(".*")) and not (tmp_path / "e.csv").exists()


def test_what_is_not_installed_is_named(run: RunDirectory, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert main(["export", str(run.path), "--to", "parquet"]) == 2
    assert capsys.readouterr().err == ("tuitrain: --to parquet needs pyarrow: `pip install 'tuitrain[export]'` "
                                       "brings it\n")


def test_columns_are_declared_once(run: RunDirectory) -> None:
    found = rows.sheet(run)
    assert all(len(row) == len(found.columns) for row in found.rows())
    assert len({column.name for column in found.columns}) == len(found.columns)
    assert np.isfinite([row[3] for row in found.rows()]).all()
