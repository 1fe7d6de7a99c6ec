"""Who made steps larger: rates that went up and clips that went up or off, by hand, rollback, undo and resume."""

import math

import pytest

from tuitrain.diagnosis.acts import Acts, since

KNOBS = {"lr": 0.001, "clip": 1.0}


def begun() -> Acts:
    acts = Acts()
    acts.begin(0, KNOBS, KNOBS)
    return acts


def told(acts: Acts, onset: int, largest: float = math.inf) -> str:
    return since(acts.raised(onset, onset + 50, lambda step: largest))


def test_a_rate_that_went_up_is_named_and_one_that_went_down_never() -> None:
    acts = begun()
    assert acts.turned(1580, "lr", 0.001, 0.04, "you")
    assert told(acts, 1581) == "since your lr x40 at step 1,580"
    assert told(acts, 1200) == "" and told(acts, 1990) == "", "before it, and long after it"
    acts = begun()
    assert not acts.turned(585, "lr", 0.001, 0.000333, "you") and told(acts, 600) == ""
    assert acts.turned(700, "lr", 0.000333, 0.001, "you")
    assert told(acts, 720) == "", "what was lowered is as it was"


@pytest.mark.parametrize("by", ["guard", "advisor", "budget"])
def test_what_the_program_sets_is_nobodys_act(by: str) -> None:
    acts = begun()
    assert not acts.turned(500, "lr", 0.001, 0.004, by) and told(acts, 510) == ""
    assert acts.turned(520, "lr", 0.004, 0.008, "you") and told(acts, 530) == "since your lr x2 at step 520"


def test_several_turns_are_told_as_their_product() -> None:
    acts = begun()
    for i, step in enumerate((1000, 1300, 1600)):
        acts.turned(step, "lr", 0.001 * 2**i, 0.002 * 2**i, "you")
    assert told(acts, 1700) == "since your lr doubled three times, x8 since step 1,000"
    [raised] = acts.raised(1700, 1750, lambda step: 0.0)
    assert (raised.factor, raised.first, raised.last) == (pytest.approx(8), 1000, 1600)
    acts.turned(1650, "lr", 0.008, 0.001, "you")
    assert told(acts, 1700) == "since your lr doubled three times, x8 since step 1,000", "the harm was done before"
    acts = begun()
    for old, new in ((0.001, 0.002), (0.002, 0.004)):
        acts.turned(1000, "lr", old, new, "you")
    assert told(acts, 1010) == "since your lr x4 at step 1,000", "two presses at one step are one turn"


def test_a_rate_that_comes_with_a_rollback_is_compared_with_that_of_the_point() -> None:
    acts = begun()
    acts.turned(585, "lr", 0.001, 0.000333, "you")
    assert acts.back(0, 460, {"lr": 0.5, "clip": 1.0}, "you")
    assert told(acts, 480) == "since your rollback to step 460 with lr x500"
    acts = begun()
    acts.turned(1500, "lr", 0.001, 0.04, "you")
    assert acts.back(0, 1200, {"lr": 0.04, "clip": 1.0}, "you"), "at step 1,200 the rate was another one"
    assert told(acts, 1210) == "since your rollback to step 1,200 with lr x40"
    acts = begun()
    acts.turned(1500, "lr", 0.001, 0.04, "you")
    assert not acts.back(0, 1200, KNOBS, "you") and told(acts, 1210) == "", "an act that was rolled back is gone"
    assert not acts.back(1, 1200, {"lr": 0.04, "clip": 0.0}, "guard") and told(acts, 1210) == ""


def test_an_undo_and_a_resume_are_acts_too() -> None:
    acts = begun()
    acts.turned(700, "lr", 0.001, 0.0001, "you")
    assert acts.undone(0, 0, 1300, KNOBS, "you")
    assert told(acts, 1310) == "since your undo at step 1,300, lr x10"
    acts = Acts()
    assert acts.begin(900, {"lr": 0.005, "clip": 1.0}, KNOBS)
    assert told(acts, 910) == "since you resumed at step 900 with lr x5"
    assert not Acts().begin(900, KNOBS, KNOBS)


def test_the_undo_of_a_rollback_returns_to_the_acts_of_the_line_that_was_left() -> None:
    acts = begun()
    acts.turned(1000, "lr", 0.001, 0.01, "you")
    acts.back(0, 800, KNOBS, "you")
    assert told(acts, 810) == ""
    acts.undone(1, 0, 1050, {"lr": 0.01, "clip": 1.0}, "you")
    assert told(acts, 1060) == "since your lr x10 at step 1,000"


@pytest.mark.parametrize(("new", "words"), [(5.0, "clip 1 → 5"), (0.0, "clip 1 → off")])
def test_a_clip_counts_where_the_one_of_before_would_have_acted(new: float, words: str) -> None:
    acts = begun()
    assert acts.turned(300, "clip", 1.0, new, "you")
    assert told(acts, 320, largest=7.0) == f"since your {words} at step 300"
    assert told(acts, 320, largest=0.8) == "", "no norm came near it"
    acts.turned(310, "lr", 0.001, 0.002, "you")
    assert told(acts, 320, largest=7.0) == f"since your lr x2 at step 310 and your {words} at step 300"


def test_what_is_kept_is_bounded() -> None:
    acts = begun()
    for step in range(1, 2000):
        acts.turned(step, "lr", 0.001, 0.001 + step * 1e-6, "you")
        acts.back(step, step, KNOBS, "you")
    assert len(acts._left) <= 50 and all(len(turns) <= 51 for turns in acts._line.values())
