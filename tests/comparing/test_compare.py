"""Runs side by side: what is told of each, which are chosen and in which order; a bad one hides no other."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import CONFIG, START, steps
from tuitrain.cli.main import main
from tuitrain.comparing import choosing, records, report
from tuitrain.comparing.records import Record, read
from tuitrain.errors import UsageError
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.recording.survey import Survey
from tuitrain.run.directory import RunDirectory
from tuitrain.run.journal import Journal
from tuitrain.telemetry.lineage import Segment

LN2 = math.log(2)


def make(parent: Path, name: str, *more: e.Event, loss: float = 1.4, count: int = 200, facts: Any = None,
         **config: Any) -> RunDirectory:
    run = RunDirectory(parent / name)
    run.create()
    body = {**CONFIG, **config}
    run.write_config({"v": 1, "run": "0" * 16, "config": body, "vocabulary": "ab", "corpus_name": "x", "versions": {}})
    book = Journal(run.journal)
    book.write(e.RunStarted(config=body, vocabulary="ab", versions={}, device="cpu", threads=1, precision="fp32",
                            facts=facts or START.facts), 1000.0)
    for first in range(1, count, 50):
        book.write(steps(first, 50, loss=loss), 1001.0 + first)
    for event in more:
        book.write(event, 2000.0)
    book.close()
    return run


def evaluated(step: int, bpc: float) -> e.Evaluated:
    return e.Evaluated(branch=0, step=step, loss=bpc * LN2, bpc=bpc, best=True, characters=9, reason="", seconds=1.0)


def sample(text: str) -> e.SampleDrawn:
    return e.SampleDrawn(branch=0, step=150, temperature=0.7, prompt="a", text=text, health={})


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out


@pytest.fixture
def two(tmp_path: Path) -> list[RunDirectory]:
    return [make(tmp_path, "one", evaluated(100, 2.5), evaluated(200, 2.25), sample("the quiet harbour"), hidden=32),
            make(tmp_path, "two", evaluated(200, 1.75), sample("every lantern"), hidden=64, loss=1.0)]


def test_numbers_differences_and_samples_of_two_runs(two: list[RunDirectory], capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = shown([str(run.path) for run in two], capsys)
    [one] = [line.split() for line in out.splitlines() if line.split()[:2] == ["1", "one"]]
    assert one[2:7] == ["interrupted", "200", f"{1.4 / LN2:.3f}", "2.250", "2.250"]
    [hidden] = [line.split() for line in out.splitlines() if line.strip().startswith("hidden ")]
    assert hidden == ["hidden", "32", "64"] and " layers" not in out
    assert "the quiet harbour" in out and "every lantern" in out and "bits per character" in out
    assert "\x1b" not in out and max(map(len, out.splitlines())) <= 100


def test_without_colour_each_run_has_a_whole_curve_with_its_number(two: list[RunDirectory]) -> None:
    record = read(two[0])
    assert isinstance(record, Record)
    steep = np.linspace(1.0, 500.0, 500)
    curves = {7: 3.0 + np.exp(-steep / 50), 2: 2.0 + np.exp(-steep / 50)}
    for braille in (True, False):
        lines = [(i, steep, losses, False) for i, losses in curves.items()]
        rows = report._plot(lines, 80, report.HEIGHT, braille, False).split("\n")
        drawn = [row[6:] for row in rows[:-1]]
        columns = list(zip(*(row.ljust(74)[:74] for row in drawn), strict=True))
        assert all(sum(character != " " for character in column) >= 2 for column in columns[1:72])
        assert sum(row.count("8") for row in drawn) >= 5 and sum(row.count("3") for row in drawn) >= 5
        if braille:
            assert sum("⠀" < c <= "⣿" for row in drawn for c in row) > 100


def test_a_run_that_is_trained_is_called_so_by_one_word(two: list[RunDirectory],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    lock = two[0].lock()
    try:
        record = read(two[0])
        assert main(["runs", str(two[0].path.parent)]) == 0
    finally:
        lock.release()
    assert isinstance(record, Record)
    [row] = [line.split() for line in capsys.readouterr().out.splitlines() if "/one " in line]
    assert record.state == row[1] == "running"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_row_never_loses_its_run(two: list[RunDirectory], width: int, capsys: pytest.CaptureFixture[str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = shown([str(two[0].path.parent)], capsys)
    assert any(line.split()[:3] == ["1", "one", "interrupted"] for line in out.splitlines())
    assert max(map(len, out.splitlines())) <= width


def test_a_bad_run_hides_no_other(two: list[RunDirectory], tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    deep = make(tmp_path, "deep")
    deep.config.write_text('{"a":' * 200_000)
    make(tmp_path, "odd", hidden={"a": {"b": [1]}}, bptt="x")
    make(tmp_path, "gone").journal.unlink()
    (tmp_path / "gone" / "journal.jsonl").symlink_to("/etc/passwd")
    out = shown([str(tmp_path)], capsys)
    told = " ".join(out.split())
    assert "1 one" in told and "2 two" in told
    assert all(f"{name}: unreadable:" in told.replace(" :", ":") for name in ("deep", "odd", "gone"))


def test_nothing_but_bad_runs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "bad").config.write_text("{")
    assert main(["compare", str(tmp_path / "bad")]) == 1
    assert "damaged" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "none")]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_runs_are_sorted_and_filtered(two: list[RunDirectory], tmp_path: Path) -> None:
    make(tmp_path, "new", hidden=64)
    known = [r for r in (read(RunDirectory(p)) for p in sorted(tmp_path.iterdir())) if isinstance(r, Record)]

    def names(chosen: list[Record]) -> list[str]:
        return [Path(r.name).name for r in chosen]

    assert names(choosing.ordered(known, "val")) == ["two", "one", "new"]  # without a number: last
    assert names(choosing.ordered(known, "-val")) == ["one", "two", "new"]
    assert names(choosing.ordered(known, "-name")) == ["two", "one", "new"]

    def where(text: str) -> list[str]:
        return names([r for r in known if choosing.condition(text, known)(r)])

    assert where("val<2") == ["two"] and where("hidden=64") == ["new", "two"] and where("hidden != 64") == ["one"]
    assert where("optimizer=ADAM") == ["new", "one", "two"] and where("name~/ONE") == ["one"]
    assert where("batch-size>=16") == ["new", "one", "two"] and where("optimizer<3") == []
    with pytest.raises(UsageError, match="did you mean hidden"):
        where("hiden=3")
    with pytest.raises(UsageError, match="val<2"):
        where("val")


def test_nothing_left_is_said(two: list[RunDirectory], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(two[0].path.parent), "--where", "val<0"]) == 2
    assert capsys.readouterr().err == "tuitrain: none of 2 runs is such that val<0\n"


def test_axes_are_steps_characters_and_seconds(two: list[RunDirectory]) -> None:
    found = read(two[0], clock=True)
    assert isinstance(found, Record)
    steps_, losses = found.over(found.validation, "step")
    assert steps_.tolist() == [100, 200] and np.allclose(losses, [2.5, 2.25])
    assert found.over(found.validation, "characters")[0].tolist() == [100 * 16 * 64, 200 * 16 * 64]
    assert found.over(found.validation, "time")[0].tolist() == [2.0, 4.0]  # a second for 50 steps


def test_a_loop_of_ones_own_has_its_unit_and_no_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = EVERYTHING.to_facts()
    facts["capabilities"]["loss"] = {"name": "loss", "short": "", "scale": 1.0}
    make(tmp_path, "theirs", facts=facts, loss=0.25, bptt=0, batch_size=0)
    make(tmp_path, "ours", evaluated(200, 1.75))
    out = " ".join(shown([str(tmp_path), "--by", "characters"], capsys).split())
    assert "losses each in its run's own unit" in out and "theirs (loss)" in out and "ours (bpc)" in out
    assert "bits per character over characters" in out and "no characters in" in out and " 0.250 " in out


def test_a_setting_is_printed_and_never_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "a", sample("\x1b[31mred [bold]x[/bold]"), prompt="\x1b[2J")
    make(tmp_path, "b", prompt="[red]y")
    out = shown([str(tmp_path)], capsys)
    assert "\x1b" not in out and "[red]y" in out and "[bold]x[/bold]" in out


def test_a_hundred_runs_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(100):
        make(tmp_path, f"r{i:03}", evaluated(50, 3 - i / 100), count=50, hidden=i)
    out = shown([str(tmp_path), "--sort", "val"], capsys)
    assert " 1  r099" in out and "100  r000" in out and "curves of the first 8 of 100" in out
    assert "newest samples" not in out and "more runs, for which there is no room" in out


def test_the_training_curve_passes_over_what_is_not_finite() -> None:
    values = np.ones(600)
    values[300:303] = np.nan
    assert np.allclose(records.smooth(values), 1.0)
    assert np.isnan(records.smooth(np.full(5, np.nan))).all()


def test_values_are_short(two: list[RunDirectory]) -> None:
    assert report._value("/a/b/book.txt") == "book.txt" and report._value([0.5, 1.0]) == "0.5, 1"
    assert report._value(None) == "-" and json.dumps(report._value("x")) == '"x"'


def test_a_survey_knows_steps_and_seconds_of_a_line_and_forgets_in_pairs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuitrain.recording.survey.MOST", 8)
    run = make(tmp_path, "long", count=2000)
    book = Journal(run.journal)
    book.write(e.RolledBack(from_branch=0, from_step=2000, to_step=1000, branch=1, id="1", by="you", knobs={},
                            asked=None, point="s1", parent=0), 5000.0)
    book.write(steps(1001, 50, branch=1), 5001.0)
    book.close()
    survey = Survey()
    survey.read_on(run.journal)
    assert len(survey) <= 8 and survey.size == run.journal.stat().st_size and survey.each >= 4
    assert [place.kind for place in survey.events] == ["RolledBack"]
    line, seconds = survey.clock((Segment(0, 1, 1000, None), Segment(1, 1001, 1050, 0)))
    assert line[-1] == 1050 and seconds[-1] == pytest.approx(21.0)
