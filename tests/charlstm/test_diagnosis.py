"""What the engine does for the diagnosis: the black box, pinned points, a clip that follows the norms."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from tests.conftest import Run
from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f

Start = Callable[..., Run]


def test_the_black_box_holds_text_numbers_and_shares(start: Start) -> None:
    run = start()
    run.to_step(60)
    kept = run.answer(c.KeepBlackBox, onset=50)
    assert isinstance(kept, f.BlackBoxKept) and kept.onset == 50
    assert sum(kept.shares.values()) == pytest.approx(1, abs=1e-3) and "layer 2" in kept.shares
    assert len(kept.streams) == 3 and len({s["stream"] for s in kept.streams}) == 3
    text = run.machine.corpus.text()
    for stream in kept.streams:
        at = stream["offset"]
        assert text[at : at + run.machine.config.bptt + 1] == stream["text"] and 45 <= stream["step"] <= 70
    losses = [s["loss"] for s in kept.streams]
    assert losses == sorted(losses, reverse=True)
    assert set(kept.replayed) == {"onset"}, "60 steps before the onset there was no run yet"
    written = json.loads((run.folder.path / kept.path).read_text())
    assert written["columns"][:2] == ["loss", "grad_norm"] and len(written["rows"]) == kept.step
    told = [loss for x in run.of(e.StepsDone) for loss in x.loss]
    assert [row[0] for row in written["rows"]] == pytest.approx(told[: kept.step], rel=1e-4)


def test_to_look_never_ends_a_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    run.to_step(20)
    monkeypatch.setenv("TUITRAIN_FULL", "blackbox-written")
    refused = run.answer(c.KeepBlackBox, onset=10)
    assert isinstance(refused, e.CommandRefused) and "space" in refused.reason
    probed = run.answer(c.LookInside)
    assert isinstance(probed, f.Probed) and len(probed.layers) == 2 and probed.loss > 0


def test_a_point_from_before_is_pinned(start: Start) -> None:
    run = start()
    run.to_step(45)
    pinned = run.answer(c.PinSnapshot, to=33)
    assert isinstance(pinned, e.SnapshotTaken) and pinned.pinned and pinned.step == 30
    assert isinstance(run.answer(c.PinSnapshot, to=-1), e.CommandRefused)


def test_an_automatic_clip_follows_the_norms_until_it_is_set_by_hand(start: Start) -> None:
    run = start(clip="auto", steps=0)
    run.to_step(260)
    moved = [x for x in run.of(e.KnobChanged) if x.by == "advisor"]
    config = run.machine.config
    norms = [n for x in run.of(e.StepsDone) for n in x.grad_norm][:250]
    expected = advise(np.array(norms), 1.0, config.optimizer, (config.betas[0], config.betas[1]))
    assert expected is not None and [x.new for x in moved] == [expected.value] and moved[0].step == 250
    assert run.machine.knobs.clip == expected.value and run.machine.knobs.clip_auto
    changed = run.answer(c.SetKnob, name="clip", value=0.7)
    assert isinstance(changed, e.KnobChanged) and not run.machine.knobs.clip_auto
    off = [x for x in run.of(e.KnobChanged) if x.name == "clip_auto"]
    assert [(x.old, x.new) for x in off] == [(1.0, 0.0)]
    run.to_step(510)
    assert run.machine.knobs.clip == 0.7
    run.answer(c.Undo)
    assert run.machine.knobs.clip == expected.value and run.machine.knobs.clip_auto
    run.answer(c.SetKnob, name="clip", value=0.01)
    run.answer(c.SetKnob, name="clip", value="auto")
    run.answer(c.TakeSnapshot)
    assert run.machine.knobs.clip_auto and run.machine.knobs.clip > 0.01


def test_readings_and_probes_are_told_by_step(start: Start) -> None:
    run = start(steps=200)
    run.finish()
    steps = [x.first_step + i * x.every for x in run.of(f.Measured) for i in range(len(x.weights["head"]))]
    assert steps == list(range(5, 201, 5))
    every = run.probes.every
    assert [x.step for x in run.of(f.Probed)] == list(range(every, 201, every))
