"""Facts of a run: whichever are missing, or of another kind, the others are read."""

from typing import Any

import pytest

from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.protocol.facts import RunFacts

WHOLE: dict[str, Any] = {"knobs": {"lr": 0.1}, "guard": "warn", "corpus": "harbour.txt", "train": 90, "validation": 10,
                         "parameters": 7, "levels": {"letters alone": 4.2}, "remarks": ["a"], "graph": "captured",
                         "description": [["model", "MLP"]], "drill": True, "mood": "bright"}


def test_no_fact_is_needed() -> None:
    facts = RunFacts.of({})
    assert facts == RunFacts() and facts.capabilities is EVERYTHING and facts.levels == {} and not facts.drill


def test_the_knobs_of_before_are_the_present_ones_unless_a_resume_changed_them() -> None:
    assert RunFacts.of(WHOLE).knobs_before == {"lr": 0.1}
    assert RunFacts.of({**WHOLE, "knobs_before": {"lr": 0.2}}).knobs_before == {"lr": 0.2}


@pytest.mark.parametrize("odd", ["text", 7, None, [], [1, [2]], {"other": {"keys": 1}}, float("inf")])
@pytest.mark.parametrize("name", sorted(WHOLE.keys() - {"mood"}))
def test_an_odd_fact_hides_no_other(name: str, odd: Any) -> None:
    facts = RunFacts.of({**WHOLE, name: odd})
    whole = RunFacts.of(WHOLE)
    others = {"knobs", "guard", "train", "levels", "remarks", "description"} - {name}
    assert {x: getattr(facts, x) for x in others} == {x: getattr(whole, x) for x in others}


def test_facts_travel_as_they_were_told_with_those_that_nobody_here_knows() -> None:
    facts = RunFacts.of(WHOLE).adding({"train": 95})
    assert facts.to_wire() == {**WHOLE, "train": 95} and RunFacts.from_wire(facts.to_wire()) == facts
    assert facts.train == 95 and facts.corpus == "harbour.txt"
