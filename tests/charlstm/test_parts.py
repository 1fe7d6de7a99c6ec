"""Corpus, cursor, schedule, sampler, evaluation, restore points: each alone."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TINY, Run
from tuitrain.charlstm import runtime
from tuitrain.charlstm.asides import evaluations, samples
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.looks import evaluator
from tuitrain.charlstm.looks.evaluator import WARM, Evaluator, make_model, steps_between_parts
from tuitrain.charlstm.looks.sampler import NumpyRNN, Stream, draw
from tuitrain.charlstm.model.scratch import Scratch
from tuitrain.charlstm.schedule import FLOOR, Schedule
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.charlstm.text.batches import Streams, Windows, fitted
from tuitrain.engine.landing import LANDED
from tuitrain.engine.restore_points import MAX_PINNED, RestorePoints
from tuitrain.engine.snapshot import Snapshot, copied
from tuitrain.errors import CorpusError
from tuitrain.protocol import events as e
from tuitrain.specs import CELLS

# --- corpus

def test_bom_crlf_and_limit_are_dealt_with_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffä line\r\n".encode() * 3 + b"b line\r\n" * 30)
    text = corpora.load(path, limit=100)
    assert "\r" not in text.vocabulary and len(text.ids) == 100
    assert {"byte order mark dropped", "line ends normalised"} <= set(text.remarks)
    assert text.vocabulary == "".join(sorted(text.vocabulary)) and text.text().startswith("ä line\n")
    assert text.split == 90


@pytest.mark.parametrize(("data", "word"), [
    (b"", "is empty"), (b"short", "at least 64"), (b"a" * 500, "single character"),
    (b"good text " * 20 + b"\xff\xfe", "byte 200"), (b"\x1f\x8b" + b"x" * 99, "gunzip")])
def test_a_bad_text_is_named_with_a_remedy(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=word):
        corpora.load(path)


def test_a_missing_text_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "copperfield.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"did you mean .*copperfield\.txt"):
        corpora.load(tmp_path / "coperfield.txt")


@given(st.text(min_size=70, max_size=200).filter(lambda s: len(set(s)) > 1))
def test_text_survives_encoding(content: str) -> None:
    built = corpora.build("t", content, 0.1)
    assert built.text() == content
    ids, unknown = corpora.encode(content, built.vocabulary)
    assert (ids == built.ids).all() and not unknown


def test_characters_outside_the_vocabulary_are_named() -> None:
    ids, unknown = corpora.encode("a?b!", "ab")
    assert ids.tolist() == [0, 1] and unknown == "!?"


def test_ten_megabytes_are_encoded_without_a_loop_over_characters() -> None:
    content = "the quick brown fox\n" * 500_000
    begin = time.process_time()
    corpora.build("t", content, 0.1)
    # A Python loop takes seconds; numpy takes a fraction of one. The bound only tells the two apart.
    assert time.process_time() - begin < 3


# --- batches

@given(st.integers(50, 3000), st.integers(1, 8), st.integers(1, 20), st.integers(1, 5), st.integers(0, 60),
       st.booleans())
def test_a_cursor_restores_exactly_and_stays_inside(
        length: int, rows: int, bptt: int, stride: int, steps: int, streams: bool) -> None:
    config = Config.of({**TINY, "batch_size": rows, "bptt": bptt, "loss": "all" if streams else "last",
                        **({} if streams else {"stride": stride})})
    rows, bptt = fitted(config, length)

    def make() -> Streams | Windows:
        return Streams(length, rows, bptt) if streams else Windows(length, rows, bptt, stride, seed=5)

    cursor = make()
    for _ in range(steps):
        batch = cursor.next()
        assert batch.offsets.min() >= 0 and batch.offsets.max() + bptt < length and len(batch.offsets) == rows
    other = make()
    other.restore(cursor.state())
    for _ in range(5):
        a, b = cursor.next(), other.next()
        assert (a.offsets == b.offsets).all() and a.fresh == b.fresh
    skipped = make()
    skipped.skip(steps + 5)
    assert (skipped.next().offsets == cursor.next().offsets).all()


def test_streams_are_contiguous_and_windows_cover_each_place_once() -> None:
    streams = Streams(101, 2, 10)
    batches = [streams.next() for _ in range(5)]
    assert [b.offsets.tolist() for b in batches] == [[i, 50 + i] for i in range(0, 50, 10)]
    assert [b.fresh for b in batches] == [True] + [False] * 4
    windows = Windows(100, 4, 10, 3, seed=1)
    seen = np.concatenate([windows.next().offsets for _ in range(windows.batches_per_epoch)])
    assert len(set(seen.tolist())) == len(seen) and (seen % 3 == 0).all()
    first = Windows(100, 4, 10, 3, seed=1)
    first.restore({"epoch": 1, "index": 0})
    assert first.next().offsets.tolist() != seen[:4].tolist(), "another order each epoch"


# --- schedule

def schedule(**options: object) -> Schedule:
    config = Config.of({**TINY, "steps": 100, **options})
    return Schedule(config, 10, 100)


def test_the_shapes() -> None:
    linear, cosine = schedule(lr_schedule="linear", warmup=10), schedule(lr_schedule="cosine")
    assert linear.factor(5, 100) == 0.5 and linear.factor(10, 100) == 1.0
    assert linear.factor(100, 100) == pytest.approx(FLOOR) == cosine.factor(100, 100)
    assert linear.factor(55, 100) == pytest.approx((1 + FLOOR) / 2)
    assert schedule(lr_schedule="constant").factor(99, 100) == 1.0
    step = schedule(lr_schedule="step", lr_decay=0.5, lr_decay_every=2.0, lr_decay_after=1.0)
    assert [step.factor(s, 0) for s in (1, 30, 31, 51)] == [1.0, 1.0, 0.5, 0.25]


def test_char_rnn_decays_from_the_end_of_its_tenth_epoch() -> None:
    s = Schedule(Config.of({"preset": "char-rnn"}), 100, 0)
    assert [round(s.factor(step, 0), 6) for step in (1, 1000, 1001, 1101)] == [1.0, 1.0, 0.97, 0.9409]


def test_plateau_and_landing() -> None:
    plateau = schedule(lr_schedule="plateau", lr_patience=2, lr_decay=0.5)
    assert [plateau.evaluated(x) for x in (2.0, 2.1, 2.2, 1.9)] == [False, False, True, False]
    assert plateau.factor(50, 100) == 0.5
    land = schedule(lr_schedule="constant")
    land.land(50, 10)
    assert land.factor(50, 0) == 1.0 and land.factor(60, 0) == pytest.approx(LANDED) == land.factor(500, 0)
    copy = schedule(lr_schedule="constant")
    copy.restore(land.state())
    assert copy.factor(55, 0) == land.factor(55, 0)


# --- sampler

@pytest.mark.parametrize("embedding", [8, "onehot"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_the_numpy_model_is_the_torch_model(embedding: int | str, layers: int, cell: str) -> None:
    torch.manual_seed(1)
    config = Config.of({**TINY, "layers": layers, "embedding": embedding, "cell": cell})
    model = make_model(config, 12).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5).add_(0.1 * torch.randn_like(p))  # no bias is zero, as after training
    numpy_model = NumpyRNN({n: p.detach().numpy() for n, p in model.named_parameters()}, cell, layers)
    ids = torch.randint(12, (1, 25))
    with torch.no_grad():
        expected = model(ids)[0][0].numpy()
    state = numpy_model.start()
    ours = np.stack([numpy_model.step(int(i), state).copy() for i in ids[0]])
    assert np.allclose(ours, expected, atol=1e-5)


def test_draw_follows_temperature_and_survives_non_finite_logits() -> None:
    rng = np.random.default_rng(0)
    logits = np.array([2.0, 1.0, 0.0], dtype=np.float32)
    for temperature in (0.5, 2.0):
        counts = np.bincount([draw(logits, temperature, rng)[0] for _ in range(4000)], minlength=3) / 4000
        p = np.exp(logits / temperature)
        assert np.allclose(counts, p / p.sum(), atol=0.03)
    _, bits = draw(np.array([50.0, 0.0], dtype=np.float32), 1.0, rng)
    assert bits == pytest.approx(0, abs=1e-6)
    bad = np.array([np.nan, 1.0, np.inf, -np.inf], dtype=np.float32)
    assert {draw(bad, 1.0, rng)[0] for _ in range(50)} == {1}
    assert len({draw(np.full(4, np.nan, dtype=np.float32), 1.0, rng)[0] for _ in range(100)}) == 4


def test_a_stream_is_the_same_however_it_is_portioned() -> None:
    torch.manual_seed(1)
    model = make_model(Config.of(TINY), 12)
    weights = {n: p.detach().numpy() for n, p in model.named_parameters()}

    def text(portion: int) -> list[int]:
        stream = Stream(NumpyRNN(weights, "lstm", 2), np.array([1, 2, 3]), 40, 0.8, np.random.default_rng(4))
        out: list[int] = []
        while not stream.done:
            out += stream.advance(portion)[0]
        return out

    assert text(1) == text(7) == text(100) and len(text(3)) == 40


# --- evaluation

@pytest.mark.parametrize("loss", ["all", "last"])
def test_an_evaluation_is_the_mean_over_the_validation_part(text: str, loss: str) -> None:
    built = corpora.build("t", text, 0.2)
    config = Config.of({**TINY, "loss": loss})
    torch.manual_seed(1)
    model = make_model(config, len(built.vocabulary))
    with torch.no_grad():
        for p in model.rnn.parameters():
            p.mul_(0.3)  # so that it forgets within the characters that a stream reads before its own
    frozen = Snapshot(0, 1, {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}, {})
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()  # what is evaluated is the snapshot, not the live model
    *_, (summed, count) = Evaluator(config, model, built.validation).run(frozen)
    nats = float(summed)
    reference = make_model(config, len(built.vocabulary)).eval()
    reference.load_state_dict(dict(frozen.part("model")), strict=False)
    ids = torch.tensor(built.validation.astype(int))
    with torch.no_grad():
        if loss == "all":
            assert count >= (len(ids) - 1) * 0.97  # all but what is read before, and a remainder
            logits = reference(ids[None, :-1])[0][0]
            same = slice(WARM, WARM + count)
            expected = torch.nn.functional.cross_entropy(logits[same], ids[1:][same]).item()
            assert nats / count == pytest.approx(expected, rel=1e-4)  # streams have read what comes before them
        else:
            windows = ids.unfold(0, config.bptt + 1, 1)
            logits = reference(windows[:, :-1], last=True)[0][:, 0]
            assert count == len(windows)
            expected = torch.nn.functional.cross_entropy(logits, windows[:, -1]).item()
            assert nats / count == pytest.approx(expected, rel=1e-4)


def frozen_model(config: Config, characters: int, seed: int) -> tuple[torch.nn.Module, Snapshot]:
    torch.manual_seed(seed)
    model = make_model(config, characters)
    return model, Snapshot(0, 1, {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}, {})


@pytest.mark.parametrize("loss", ["all", "last"])
def test_a_part_between_the_slices_of_the_whole_changes_neither(text: str, loss: str) -> None:
    built = corpora.build("t", text, 0.5)
    config = Config.of({**TINY, "loss": loss})
    model, first = frozen_model(config, len(built.vocabulary), 1)
    _, second = frozen_model(config, len(built.vocabulary), 2)
    evaluator = Evaluator(config, model, built.validation)

    def measure(snapshot: Snapshot, part: bool) -> tuple[float, int]:
        *_, (nats, count) = evaluator.run(snapshot, part=part)
        return float(nats), count

    whole, part = measure(first, False), measure(second, True)
    assert part[1] < whole[1]
    mixed = []
    for nats, count in evaluator.run(first):
        mixed.append((float(nats), count))
        assert measure(second, True) == part
    assert mixed[-1] == whole and len(mixed) == evaluator.slices() > 2


def test_frozen_weights_are_copied_into_the_scratch_model_and_never_put_in_place_of_its_own(text: str) -> None:
    """cuDNN wants the weights of an LSTM in one block, in their order: where they lay at first."""
    config = Config.of(TINY)
    model, frozen = frozen_model(config, 30, 1)
    _, other = frozen_model(config, 30, 2)
    scratch = Scratch(model)
    before = [p.data_ptr() for p in scratch.load(frozen).parameters()]
    loaded = scratch.load(other)
    assert [p.data_ptr() for p in loaded.parameters()] == before
    assert all(torch.equal(p, other.tensors[f"model.{name}"]) for name, p in loaded.named_parameters())
    assert not {p.data_ptr() for p in model.parameters()} & set(before)


def test_parts_are_measured_where_the_whole_is_long() -> None:
    config = Config.of({**TINY, "layers": 3, "hidden": 512, "batch_size": 50, "bptt": 50})
    assert steps_between_parts(config, 2_000) == 0
    assert 50 <= steps_between_parts(config, 80_000) <= 150


# --- restore points

@given(st.lists(st.booleans(), min_size=1, max_size=300), st.integers(2, 40))
def test_restore_points_keep_their_budget_the_newest_and_the_pinned(pins: list[bool], room: int) -> None:
    one = torch.zeros(10)
    points = RestorePoints(budget=room * 40)
    kept: list[str] = []
    for step, pinned in enumerate(pins):
        point, dropped = points.add(Snapshot(0, step, {"x": one}, {}), "test", pinned=pinned)
        kept.append(point.name)
        kept = [n for n in kept if n not in {d.name for d in dropped}]
        assert points.bytes <= room * 40 and points.get(point.name) is not None
        assert [p.name for p in points] == kept
    wanted = [i for i, pinned in enumerate(pins) if pinned][-MAX_PINNED:]
    if len(wanted) < room - 1:
        assert {p.snapshot.step for p in points} >= set(wanted)


def test_restore_points_are_dense_near_now_and_sparse_far_back() -> None:
    points = RestorePoints(budget=20 * 40)
    for step in range(1000):
        points.add(Snapshot(0, step, {"x": torch.zeros(10)}, {}), "test", pinned=False)
    ages = sorted(999 - p.snapshot.step for p in points)
    assert len(ages) == 20 and ages[:4] == [0, 1, 2, 3] and ages[-1] > 300
    gaps = np.diff(ages)
    assert gaps[-3:].mean() > 10 * gaps[:3].mean() and math.isfinite(float(gaps.max()))


# --- snapshots

def test_a_block_is_used_again_once_nobody_looks_at_it_and_not_before() -> None:
    live = {"a": torch.full((600, 600), 1.0), "b": torch.arange(9, dtype=torch.uint8)}
    first = copied(live)
    seen, where = first["a"].numpy(), first["a"].data_ptr()
    del first
    live["a"].fill_(2.0)
    second = copied(live)
    assert second["a"].data_ptr() != where and (seen == 1.0).all()
    assert second["b"].tolist() == list(range(9)) and second["b"].dtype == torch.uint8
    del seen
    live["a"].fill_(3.0)
    third = copied(live)
    assert third["a"].data_ptr() == where and (third["a"] == 3.0).all() and (second["a"] == 2.0).all()


# --- samples

def test_samples_are_drawn_in_bursts_inside_their_share_and_faster_for_whom_waits(
        start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(sample_every=100)
    now = [0.0]
    clock = samples.Samples(run.machine, 100, lambda: now[0])
    advance = Stream.advance

    def slowly(stream: Stream, characters: int) -> tuple[list[int], list[float]]:
        now[0] += 0.01  # what it takes by this clock
        return advance(stream, characters)

    monkeypatch.setattr(Stream, "advance", slowly)

    def drawn(steps: int) -> tuple[float, int]:
        """Seconds that drawing took, and after how many of the steps of 50 ms anything was drawn."""
        took, bursts = 0.0, 0
        for _ in range(steps):
            now[0] += 0.05
            before = now[0]
            list(clock.attend(None))
            took, bursts = took + now[0] - before, bursts + (now[0] > before)
        return took, bursts

    monkeypatch.setattr(clock._timer, "due", lambda step: True)
    took, bursts = drawn(1000)
    assert 0.8 * samples.BUDGET < took / 50 < 1.2 * samples.BUDGET and bursts <= 20
    clock.start("id", "somebody")
    took, _ = drawn(20)
    assert took > 0.1
    list(clock.while_paused())
    now[0] += 10.0  # a step of a slow model
    before = now[0]
    list(clock.attend(None))
    assert now[0] - before > 0.8 * samples.AWAITED * 10 or not clock.busy, "whoever waits gets the share of any step"


def test_an_evaluation_that_somebody_waits_for_gets_a_share_of_a_slow_models_steps_and_no_more(
        start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "CHUNK", 1)
    run, now = start(val=0.5, evaluate_every=100_000), [0.0]
    aside = evaluations.Evaluations(run.machine, 100_000, lambda: now[0])
    slices = aside._evaluator.slices()
    assert slices > 40
    run_slices = Evaluator.run

    def slowly(*words: Any, **options: Any) -> Any:
        for found in run_slices(*words, **options):
            now[0] += 0.1  # what a slice takes by this clock
            yield found

    monkeypatch.setattr(Evaluator, "run", slowly)

    def taken(step: float) -> float:
        now[0] += step
        before = now[0]
        list(aside.advance())
        return now[0] - before

    aside.start("asked for", "id", "somebody")
    assert taken(0.0) == pytest.approx(0.1 * evaluations.AT_A_TIME), "at least a few slices whatever a step takes"
    assert taken(4.0) == pytest.approx(evaluations.AWAITED * 4.0, abs=0.31) and aside.busy
    aside._running.clear()
    aside.start("interval")
    aside._running[0].pace = 1.0
    assert taken(4.0) == pytest.approx(0.1), "nobody waits"


def test_the_first_sample_is_not_of_the_first_seconds_and_comes_before_half_the_interval_is_over(
        start: Callable[..., Run]) -> None:
    run = start(sample_every=40)
    run.to_step(19)
    assert not run.samples.busy and not run.of(e.SamplePiece)
    run.to_step(20)
    assert run.samples.busy or run.of(e.SamplePiece)


def test_compute_threads_sleep_sooner_unless_the_person_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[dict[str, str], str | None]] = [
        ({}, str(runtime.SPINS)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
    for by_a_person, there in said:
        monkeypatch.setattr(os, "environ", {"TUITRAIN_MALLOPT": "0", **by_a_person})
        runtime.before_torch()
        assert os.environ.get("GOMP_SPINCOUNT") == there
