"""Windows of the default run beside a stock loop: which marks count, and that both take turns."""

from pathlib import Path

import pytest

from tuitrain.errors import TuitrainError
from tuitrain.experiments.bench import Shape
from tuitrain.experiments.first_minute import first_minute, marks_of_stock, own_time, speed


def test_only_marks_inside_a_window_count() -> None:
    marks = [(0.0, 10), (9.9, 20), (10.0, 30), (11.0, 34), (14.0, 40), (22.0, 41)]
    assert speed(marks, 10.0, 22.0) == pytest.approx(11 / 12)
    assert speed(marks, 10.0, 15.0) == pytest.approx(10 / 4)
    with pytest.raises(TuitrainError, match="more --seconds"):
        speed(marks, 11.5, 15.0)


def test_time_is_counted_while_it_is_its_turn() -> None:
    assert own_time([(100.0, 112.0), (124.0, 136.0)], 130.0) == 18.0


def test_a_line_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "stock").write_text("1.5 3\n2.0 5\n2.")
    assert marks_of_stock(tmp_path / "stock") == [(1.5, 3), (2.0, 5)]


def test_both_take_turns_and_each_window_has_a_ratio(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the stock loop, which would crawl with two on a busy machine
    said: list[str] = []
    minute = first_minute(corpus, Shape(1, 8, 4, 8), seconds=1.5, windows=2, say=said.append,
                          options=["--threads=1", "--precision=fp32", "--sample-every=100", "--sample-length=5"])
    assert len(minute.windows) == len(said) == 2 and all(w.ours > 0 and w.stock > 0 for w in minute.windows)
    assert minute.sample_after is not None and 0 <= minute.sample_after <= 3.5
