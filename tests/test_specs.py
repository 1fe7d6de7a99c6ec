"""One declaration for each optimizer and each guard mode, and a mistake that is found at start."""

import pytest

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.model.optimizers import BUILDERS
from tuitrain.errors import UsageError
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
