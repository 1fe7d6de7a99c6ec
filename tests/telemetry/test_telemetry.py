"""Series stay bounded and true; the state folds and travels; words are what people say; text is made safe."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.run.index import Digest
from tuitrain.telemetry import units
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import headline
from tuitrain.telemetry.series import History, Ring

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=200)


@given(NUMBERS, st.integers(1, 30))
def test_a_ring_is_the_tail(values: list[float], capacity: int) -> None:
    ring = Ring(capacity)
    for part in (values[:70], values[70:]):
        ring.extend(np.array(part))
    assert np.array_equal(ring.last(), np.array(values[-capacity:]), equal_nan=True)
    assert len(ring) == min(len(values), capacity)
    assert np.array_equal(ring.last(3), np.array(values[-min(3, capacity):]), equal_nan=True)


@given(NUMBERS, st.sampled_from([2, 4, 16]))
def test_a_history_keeps_extremes_mean_and_every_bad_point(values: list[float], capacity: int) -> None:
    history = History(capacity)
    history.extend(np.array(values))
    starts, low, high, mean, bad = history.buckets()
    assert len(starts) <= capacity and len(history) == len(values)
    for i, start in enumerate(starts):
        part = np.array(values[int(start) - 1 : int(start) - 1 + history.width])
        good = part[np.isfinite(part)]
        assert bad[i] == len(part) - len(good)
        if len(good):
            assert (low[i], high[i]) == (good.min(), good.max()) and mean[i] == pytest.approx(good.mean(), abs=1e-3)
        else:
            assert math.isnan(mean[i])
    assert int(bad.sum()) == sum(not math.isfinite(v) for v in values)


def done(first: int, losses: list[float], branch: int = 0, seconds: float = 1.0) -> e.StepsDone:
    n = len(losses)
    return e.StepsDone(branch=branch, first_step=first, epoch=first / 100, loss=tuple(losses), grad_norm=(0.5,) * n,
                       every=1, clipped=(1,) + (0,) * (n - 1), skipped=(0,) * n, lr=(0.01,) * n, clip=(1.0,) * n,
                       norms={}, seconds=seconds)


def started() -> RunState:
    state = RunState()
    state.fold(e.RunStarted(config={"lr": 0.01, "clip": 1.0, "temperature": [1.0], "prompt": "random", "steps": 100,
                                    "batch_size": 4, "bptt": 10, "on_divergence": "warn"}, vocabulary="ab", versions={},
                            device="cpu", threads=1, precision="fp32", facts={}))
    return state


def test_the_fold() -> None:
    state = started()
    assert (state.status, state.guard, state.knobs["lr"]) == ("running", "warn", 0.01)
    state.fold(done(1, [3.0, 2.0, math.nan, 1.0]))
    assert (state.step, state.train_loss, state.norm, state.share_clipped) == (4, 2.0, 0.5, 0.25)
    assert state.steps_per_second == 4 and state.characters_per_second == 160 and state.seconds_left == 24
    for loss, best in ((2.0, 2.0), (2.5, 2.0), (1.5, 1.5)):
        state.fold(e.Evaluated(branch=0, step=4, loss=loss, bpc=loss / units.LN2, best=False, characters=9, reason="",
                               seconds=1.0))
        assert (state.val_loss, state.best_loss) == (loss, best)
    state.fold(e.KnobChanged(branch=0, step=4, name="lr", old=0.01, new=0.005, id="", by="me"))
    assert state.knobs["lr"] == 0.005
    knobs = {"lr": 0.001, "clip": 1.0}
    state.fold(e.RolledBack(from_branch=0, from_step=4, to_step=2, branch=1, id="", by="me", knobs=knobs, asked=None,
                            point="s1"))
    assert (state.branch, state.step, state.knobs) == (1, 2, knobs) and state.train_loss == 2.5
    state.fold(e.Paused(branch=1, step=2, id="", by="me"))
    assert state.status == "paused"
    state.fold(e.RunEnded(reason="stopped", exit_code=0, branch=1, step=2))
    assert (state.status, state.ended) == ("ended", "stopped")


def test_the_wire_form_is_strict_json_bounded_and_whole() -> None:
    state = started()
    for i in range(2000):
        state.fold(done(1 + 10 * i, [2.0] * 9 + [math.inf], seconds=0.1))
    text = json.dumps(state.to_wire(), allow_nan=False)
    assert len(text) < 60_000
    back = RunState.from_wire(json.loads(codec.seal({"state": state.to_wire()}))["state"])
    assert (back.step, back.train_loss, back.steps_per_second) == (20_000, 2.0, state.steps_per_second)
    assert back.to_wire() == state.to_wire()


@pytest.mark.parametrize(("said", "expected"), [
    (units.number(0.0025), "0.0025"), (units.number(1234567.0), "1.23e+06"), (units.number(1.2e-5), "1.2e-05"),
    (units.number(12345.6), "12,346"), (units.number(0.0), "0"), (units.number(math.nan), "nan"),
    (units.percent(0.004), "0.4 %"), (units.percent(0.38), "38 %"), (units.percent(0.0), "0 %"),
    (units.duration(291), "0:04:51"), (units.duration(2 * 86400 + 11400), "2d 3:10:00"),
    (units.duration(math.inf), "-"), (units.rate(61_234), "61.2 k/s"), (units.size(3.4e6), "3.4 MB"),
    (f"{units.bpc(math.log(2)):.1f}", "1.0")])
def test_numbers_become_words(said: str, expected: str) -> None:
    assert said == expected


@given(st.text())
def test_safe_text_holds_nothing_a_terminal_obeys(text: str) -> None:
    for newlines in (True, False):
        shown = units.safe(text, newlines=newlines)
        for char in shown:
            assert (char == "\n" and newlines) or not (ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0)
            assert char not in "\u202e\u2066\u200f" and not 0xD800 <= ord(char) < 0xE000
    assert units.safe("\x1b[2J a\tb") == "␛[2J a b"
    assert units.safe("é e\u0301 שלום ก็ 字") == "é e\u0301 שלום ก็ 字", "what every terminal draws alike stays"
    assert units.safe("👩\u200d👧 🇬🇧 👍🏽 ❤\ufe0f") == "👩◦👧 ◦◦ 👍◦ ❤◦", "what some join is shown apart by all"


def test_one_who_attaches_late_to_a_long_run_gets_all_of_it_in_bounded_bytes() -> None:
    state = started()
    for first in range(1, 200_001, 500):
        state.fold(done(first, [2.0 + 1 / first] * 500), float(first))
        if first % 1000 == 1:
            state.fold(e.Evaluated(branch=0, step=first, loss=2.0, bpc=2.9, best=False, characters=1, reason="",
                                   seconds=1))
            state.fold(e.SnapshotTaken(branch=0, step=first, id="", by="", reason="interval", pinned=False, bytes=10,
                                       point=f"s{first}"), 5.0)
            state.fold(e.NoteAdded(branch=0, step=first, text="n" * 200, id="", by="me"), 6.0)
            state.fold(e.SamplePiece(branch=0, step=first, temperature=1.0, prompt="p", text="t" * 400, first=True,
                                     bits=(1.0,) * 400))
    state.fold(e.RolledBack(from_branch=0, from_step=200_000, to_step=100_000, branch=1, id="", by="me", asked=None,
                            knobs=state.knobs, point="s1"), 7.0)
    line = codec.seal({"state": state.to_wire()})
    back = RunState.from_wire(json.loads(line)["state"])
    assert len(line) < 512 << 10
    assert back.losses.last_step == 100_000 and back.left[0].last_step == 200_000
    assert np.allclose(back.losses.buckets()[3], state.losses.buckets()[3], rtol=1e-4)
    assert back.story == state.story and back.validation == state.validation
    assert back.to_wire() == state.to_wire()


@given(NUMBERS, st.integers(0, 250), NUMBERS)
def test_a_cut_history_goes_on_at_the_cut(values: list[float], cut: int, more: list[float]) -> None:
    history = History(512)
    history.extend(np.array(values))
    history.cut(cut)
    history.extend(np.array(more))
    kept = (values[:cut] + more)
    assert history.last_step == len(kept)
    mean = history.buckets()[3]
    expected = np.where(np.isfinite(kept), kept, np.nan) if kept else np.zeros(0)
    assert np.allclose(mean, expected, equal_nan=True)


def test_a_part_of_the_validation_text_is_never_taken_for_the_whole() -> None:
    whole = e.Evaluated(branch=0, step=4, loss=2.0, bpc=2.9, best=True, characters=9, reason="interval", seconds=0.1)
    part = replace(whole, step=6, loss=1.0, bpc=1.4, best=False, part=True)
    state, digest = RunState(), Digest()
    for event in (whole, part):
        state.fold(event)
        digest.fold(event, 1.0)
    assert (state.val_loss, state.best_loss, state.best_step) == (2.0, 2.0, 4)
    assert (state.validation.whole, state.validation.part) == ([(4, 2.0)], [(6, 1.0)])
    assert RunState.from_wire(state.to_wire()).validation == state.validation
    assert (digest.last, digest.best) == (2.9, 2.9)
    assert not headline(part)
    state.fold(e.RolledBack(from_branch=0, from_step=9, to_step=5, branch=1, id="", by="", knobs={}, asked=None,
                            point=""))
    assert state.validation.part == [] and state.validation.whole == [(4, 2.0)]


@pytest.mark.parametrize(("device", "precision", "graph", "computes"), [
    ("cpu", "bf16", "eager", ("cpu", "bf16")),
    ("cuda (NVIDIA H100)", "tf32", "captured", ("cuda (NVIDIA H100)", "tf32", "CUDA graph")),
    ("cuda:1 (NVIDIA H100)", "fp16", "eager: its numbers were off", ("cuda:1 (NVIDIA H100)", "fp16", "eager"))])
def test_what_computes_is_named(device: str, precision: str, graph: str, computes: tuple[str, ...]) -> None:
    state = RunState()
    state.fold(e.RunStarted(config={}, vocabulary="ab", versions={}, device=device, threads=1, precision=precision,
                            facts={"graph": graph}))
    assert state.computes == computes


@given(NUMBERS, st.sampled_from([2, 4, 16]))
def test_a_history_names_the_step_of_its_largest_number(values: list[float], capacity: int) -> None:
    history = History(capacity)
    for at in range(0, len(values), 7):
        history.extend(np.array(values[at : at + 7]))
    good = [v if math.isfinite(v) else -math.inf for v in values]
    largest = max(good, default=-math.inf)
    expected = None if largest == -math.inf else (largest, good.index(largest) + 1)
    assert history.largest() == expected == History.from_wire(history.to_wire() | {
        "high": [float(v) for v in history._high[: len(history.buckets()[0])]]}).largest()


@given(NUMBERS, st.integers(0, 200), st.sampled_from([2, 4, 16]))
def test_a_history_cut_inside_a_bucket_forgets_what_came_after(values: list[float], cut: int, capacity: int) -> None:
    whole, kept = History(capacity), np.array(values[:cut])
    whole.extend(np.array(values))
    known, fresh = History.from_wire(whole.to_wire()), History(capacity)
    fresh.width = whole.width
    fresh.extend(kept)
    whole.cut(cut, kept)
    if cut < len(values):
        assert whole.largest() == fresh.largest() and all(
            np.allclose(a, b, equal_nan=True) for a, b in zip(whole.buckets(), fresh.buckets(), strict=True))
    known.cut(cut)  # without the numbers: no extreme that is known to be later stays
    largest = known.largest()
    if largest is not None:
        assert largest[1] <= cut and known.last_step == min(cut, len(values))


def test_a_clip_that_was_just_set_is_judged_by_the_steps_since_also_where_their_numbers_are_thinned() -> None:
    state = RunState()
    for first, acted in ((1, 0), (101, 1)):
        told = tuple(acted for step in range(first, first + 100) if (step - 1) % 8 == 0)
        state.fold(e.StepsDone(branch=0, first_step=first, epoch=0.0, loss=(1.0,) * 100, grad_norm=(1.0,) * 100,
                               every=8, clipped=told, skipped=(0,) * len(told), lr=(), clip=(), norms={}, seconds=1.0))
        if first == 1:
            state.fold(e.KnobChanged(branch=0, step=100, name="clip", old=9.0, new=0.5, id="", by="you"))
    assert state.clip_acted() == (100, 100)
