"""What an event is about is read from its fields, never from the words that are made of it."""

from dataclasses import replace

import pytest

from tests.telemetry.test_telemetry import done, started
from tuitrain.protocol import events as e
from tuitrain.telemetry.sentences import headline
from tuitrain.telemetry.units import BITS

ENDED = e.RaceEnded(race="r", branch=0, step=9, reason="finished", recommended=1, runner_up=0,
                    sentences=("recommended reading: none", "take the first"), advice="take the first")


@pytest.mark.parametrize(("name", "old", "new"), [("lr", 0.1, 0.2), ("steps", 5, 9), ("temperature", (1.0,), (0.5,))])
def test_the_mark_of_a_turned_knob_names_it(name: str, old: object, new: object) -> None:
    state = started()
    state.fold(done(1, [2.0] * 5))
    state.fold(e.KnobChanged(branch=0, step=5, name=name, old=old, new=new, id="1", by="you"))  # type: ignore[arg-type]
    assert [mark.knob for mark in state.story.marks] == [name]


def test_a_race_that_ended_says_its_advice_and_no_sentence_that_only_looks_like_it() -> None:
    assert headline(ENDED, BITS, "") == "race finished; take the first"
    assert headline(replace(ENDED, advice=""), BITS, "") == "race finished"
