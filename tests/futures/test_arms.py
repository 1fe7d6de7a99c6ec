"""Arms as a person writes them, and those that are worth a try."""

import numpy as np
import pytest

from tuitrain.diagnosis.arms import AS_IT_IS, MOST, Arm, asked, lined_up, parse, proposed
from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.errors import UsageError
from tuitrain.knobs import Knobs

NOW = Knobs(lr=0.004, clip=5.0, temperature=(1.0,), prompt="", steps=0)
NORMS = np.random.default_rng(0).lognormal(np.log(0.2), 0.15, 1000)


def test_arms_are_written_as_knobs_are_everywhere() -> None:
    assert parse("lr=x0.25 clip=1") == Arm(lr="x0.25", clip="1") and parse("clip=off").name == "clip off"
    assert Arm(lr="x0.25", clip="1").knobs(NOW) == Knobs(lr=0.001, clip=1.0, temperature=(1.0,), prompt="", steps=0)
    assert Arm(clip="auto").knobs(NOW).clip_auto and Arm().knobs(NOW) == NOW
    assert asked(["0.5", "off"], ["x2"], ["lr=0.1"]) == [Arm(clip="0.5"), Arm(clip="off"), Arm(lr="x2"), Arm(lr="0.1")]


@pytest.mark.parametrize("text", ["", "lr", "lr=", "rate=1", "lr=1 lr=2", "lr=fast", "clip=x"])
def test_what_is_no_arm_is_refused_with_an_example(text: str) -> None:
    if not text:
        assert parse(text) == Arm()
        return
    with pytest.raises(UsageError, match=r"such as|as 0\.001|as 1\.5"):
        parse(text)


def test_a_knob_beyond_its_bounds_is_named() -> None:
    with pytest.raises(UsageError, match="lr 40 is outside 0 to 10"):
        Arm(lr="x10000").values(NOW)


def test_without_arms_the_advice_its_range_and_lower_rates_are_tried() -> None:
    advice = advise(NORMS, NOW.clip, "adam", (0.9, 0.999))
    assert advice is not None
    names = [arm.name for arm in proposed(advice, NOW)]
    assert names[0] == AS_IT_IS and names[1] == f"clip {advice.value:g}" and names[2] == f"clip {advice.low:g}"
    assert names[-4:] == ["lr x0.5", "lr x0.25", "lr x0.1", f"clip {advice.value:g}, lr x0.25"]
    followed = Knobs(lr=0.004, clip=advice.value, temperature=(1.0,), prompt="", steps=0, clip_auto=True)
    assert [arm.name for arm in proposed(advice, followed)] == [
        AS_IT_IS, f"clip {advice.low:g}", "lr x0.5", "lr x0.25", "lr x0.1"], "the advice is in force already"
    assert [arm.name for arm in proposed(None, NOW)] == [AS_IT_IS, "lr x0.5", "lr x0.25", "lr x0.1"]


def test_the_arm_to_compare_with_comes_first_and_none_comes_twice() -> None:
    assert lined_up([Arm(lr="x0.5"), Arm(lr="0.002"), Arm(clip="5")], NOW) == [Arm(), Arm(lr="x0.5")]
    with pytest.raises(UsageError, match=f"at most {MOST}"):
        lined_up([Arm(lr=f"x{n}") for n in range(2, 40)], NOW)
