"""The one way from what was typed to a worker: which stations a run passes, how often, and what is reported there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Run
from tuitrain.charlstm import prepare
from tuitrain.charlstm.start import building, choices, hardware, opening, race, reading, sealing
from tuitrain.errors import UsageError
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory

STATIONS = ((reading, "read"), (reading, "read_again"), (hardware, "choose"), (hardware, "choose_again"),
            (sealing, "seal"), (sealing, "sealed"), (building, "build"), (building, "rebuild"),
            (opening, "open_new"), (opening, "open_again"), (opening, "hand_over"))


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stations in the order in which they are entered."""
    names: list[str] = []

    def watched(name: str, station: Callable[..., Any]) -> Callable[..., Any]:
        def enter(*given: Any, **named: Any) -> Any:
            names.append(name)
            return station(*given, **named)

        return enter

    for module, name in STATIONS:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    return names


def test_a_new_run_and_a_resumed_one_pass_each_station_once(start: Callable[..., Run], resume: Callable[..., Run],
                                                            passed: list[str]) -> None:
    run = start(steps=3)
    assert passed == ["read", "choose", "seal", "build", "open_new", "hand_over"]
    run.finish()
    passed.clear()
    resume(run.folder, steps=6)
    assert passed == ["sealed", "read_again", "choose_again", "rebuild", "build", "open_again", "hand_over"]


def test_what_is_reported_on_the_way_and_in_which_order(corpus: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(*given: Any) -> choices.Choice:
        given[-1]("timed: 1 thread 0.01 s")
        return choices.Choice(1, "fp32", 0.01, "1 thread 0.01 s")

    monkeypatch.setattr(race, "choose", timed)
    said: list[str] = []
    made = prepare.plan({**TINY, "corpus": str(corpus), "sample_every": "3s"}, said.append)
    assert made.config.sample_every == "3s" and Path(made.config.corpus).is_absolute()
    run = RunDirectory(tmp_path / "run")
    run.create()
    started = Run(prepare.start(made, run, said.append), run)
    assert [words.partition(" ")[0] for words in said] == [f"{made.corpus.name}:", "2x16", "timed:", "building",
                                                            "counting"], said
    opened = started.until(lambda event: isinstance(event, e.RunStarted))
    assert isinstance(opened, e.RunStarted) and opened.facts["timed"] == "1 thread 0.01 s"
    started.trainer.saves.abandon()


def test_what_cannot_be_meant_is_refused_before_the_text_is_read(passed: list[str]) -> None:
    with pytest.raises(UsageError, match="--layers 0"):
        prepare.plan({"corpus": "nowhere.txt", "layers": 0})
    assert passed == []
