"""One declaration for each optimizer and each guard mode, and a mistake that is found at start."""

import math

import pytest

from tuitrain import knobs, troubles
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.optimizers import BUILDERS
from tuitrain.errors import UsageError
from tuitrain.experiments import faults
from tuitrain.protocol import codec
from tuitrain.protocol.capabilities import EVERYTHING
from tuitrain.protocol.commands import Command
from tuitrain.specs import GUARD_MODES, OPTIMIZERS, check_declared, optimizer


def test_what_is_declared_is_built_and_can_be_asked_for() -> None:
    assert list(BUILDERS) and set(BUILDERS) == set(OPTIMIZERS)
    for name in OPTIMIZERS:
        assert Config.of({"optimizer": name}).lr > 0
    with pytest.raises(UsageError, match=r"optimizer sextant: choose one of adam"):
        Config.of({"optimizer": "sextant"})


def test_a_name_that_is_only_declared_fails_at_start() -> None:
    with pytest.raises(RuntimeError, match="optimizers: declared and built are not the same: sextant"):
        check_declared("optimizers", [*OPTIMIZERS, "sextant"], BUILDERS)


def test_nothing_is_taken_for_granted_of_an_optimizer_of_somebody_else() -> None:
    assert not optimizer("Lion").divides and not optimizer("Lion").bounded
    assert optimizer("adam").bounded and not optimizer("sgd").bounded and optimizer("muon").bounded


def test_the_modes_of_the_guard_begin_with_the_mildest() -> None:
    assert list(GUARD_MODES) == ["warn", "pause", "rollback", "stop"]


def test_a_rule_or_cause_of_a_newer_version_promises_nothing() -> None:
    rule, cause = troubles.rule("drift"), troubles.cause("bad_luck")
    assert rule.name == "drift" and not (rule.alarm or rule.pins or rule.advises or rule.single or rule.recurrence)
    assert cause.words == cause.usual.title == "bad luck" and not (cause.fault or cause.too_small or cause.of_text)


def test_every_rule_is_kept_under_its_own_name() -> None:
    assert all(name == rule.name for name, rule in troubles.RULES.items()) and len(troubles.RULES) == 10


def test_a_fault_with_a_cause_that_is_not_declared_fails_when_it_is_declared() -> None:
    with pytest.raises(RuntimeError, match="causes of odd: declared and built are not the same: lr_to_high"):
        faults.Fault("odd", "a misspelled cause", ("lr_to_high",), faults.nothing)


def test_a_knob_that_is_not_declared_fails_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    knobs._check_declared()
    monkeypatch.delitem(knobs.KNOBS, "temperature")
    with pytest.raises(RuntimeError, match="knobs: declared and built are not the same: temperature"):
        knobs._check_declared()


@pytest.mark.parametrize("spec", knobs.KNOBS.values(), ids=str)
def test_a_knob_has_a_command_and_is_offered_with_its_range(spec: knobs.KnobSpec) -> None:
    assert spec.command in codec.registry(Command) and spec.meaning
    told = EVERYTHING.to_facts()["capabilities"]
    assert told["knobs"][spec.name] == ""
    assert (spec.name in told["ranges"]) == spec.ranged
    if spec.ranged:
        assert told["ranges"][spec.name] == [spec.low, spec.high] and spec.low < spec.high < math.inf


def test_a_knob_takes_the_words_it_declares() -> None:
    for name, spec in knobs.KNOBS.items():
        for word, takes in (("auto", spec.auto), ("off", spec.zero == "off"), ("x0.5", spec.scales)):
            if takes:
                knobs.wish(name, word)
            elif spec.ranged:
                with pytest.raises(UsageError, match=f"{name}: "):
                    knobs.wish(name, word)
