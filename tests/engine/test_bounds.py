"""Commands with absurd numbers and endless words: refused with a reason, and training goes on."""

import pytest

from tests.engine.test_steering import Start
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e

HUGE = 2**63 - 1


@pytest.mark.parametrize(("kind", "values", "word"), [
    (c.Rollback, {"to": 0, "skip_batches": HUGE}, "at most"),
    (c.Rollback, {"to": 0, "skip_batches": -HUGE}, "0 or more"),
    (c.Rollback, {"to": HUGE}, "not in the past"),
    (c.Rollback, {"to": -HUGE}, "not in the past"),
    (c.Rollback, {"point": "s" * 50_000}, "no name has more"),
    (c.Land, {"steps": HUGE}, "at most"),
    (c.Land, {"steps": -HUGE}, "1 or more"),
    (c.PinSnapshot, {"to": HUGE}, "is out of range"),
    (c.PinSnapshot, {"to": -1}, "is out of range"),
    (c.KeepBlackBox, {"onset": HUGE}, "not in the past"),
    (c.KeepBlackBox, {"onset": -HUGE}, "not in the past"),
    (c.Stop, {"exit_code": HUGE}, "0 to 255"),
    (c.Stop, {"exit_code": -1}, "0 to 255"),
    (c.Stop, {"reason": "x" * 50_000}, "at most 500"),
    (c.AddNote, {"text": "x" * 50_000}, "characters"),
    (c.SetKnob, {"name": "x" * 50_000, "value": 1.0}, "no name has more"),
    (c.SetGuardMode, {"mode": "x" * 50_000}, "no name has more"),
    (c.SetPrompt, {"text": "x" * 50_000}, "prompt"),
])
def test_what_nobody_would_ask_is_refused_and_training_goes_on(
        start: Start, kind: type[c.Command], values: dict[str, object], word: str) -> None:
    run = start()
    run.to_step(5)
    answer = run.answer(kind, **values)
    assert isinstance(answer, e.CommandRefused) and word in answer.reason and len(answer.reason) <= 500
    at = run.machine.progress.step
    run.to_step(at + 3)
    assert run.machine.progress.step >= at + 3 and not run.of(e.RunEnded)
