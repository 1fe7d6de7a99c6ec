"""The step as a graph: it proves itself or is not taken, and a try that fails leaves no trace in the run."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY, Run
from tuitrain.charlstm import prepare, rehearsal, runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.model import capture
from tuitrain.charlstm.model.capture import Outcome, Step, prove
from tuitrain.charlstm.start import race
from tuitrain.charlstm.start.building import first_knobs
from tuitrain.charlstm.text import corpus as corpora
from tuitrain.engine.reporter import Reporter
from tuitrain.errors import ERROR, UsageError
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory

CASES = [{}, {"dropout": 0.3}, {"optimizer": "muon"}, {"optimizer": "sgd"}, {"optimizer": "rmsprop"},
         {"precision": "fp16"}, {"loss": "last", "stride": 3}, {"clip_kind": "element", "clip": 1.0}]


def machine(text: str, **options: object) -> Machine:
    config = Config.of({**TINY, "corpus": "x", **options})
    return Machine(config, corpora.build("x", text, 0.1), first_knobs(config))


def faithful(step: Step) -> Step:
    """A recorder that leaves behind what one leaves on a GPU: steps that were made to warm up."""
    for _ in range(capture.WARM_UP):
        step()
    return step


def failing(step: Step) -> Step:
    """What a GPU that refuses leaves behind: some steps, in the ring too, and gradients of one that ended nowhere."""
    faithful(step)
    raise RuntimeError("operation not permitted when stream is capturing\nmore words")


def off_by(machine: Machine, factor: float) -> Callable[[Step], Step]:
    def record(step: Step) -> Step:
        def replay() -> None:
            with torch.no_grad():
                machine.model.head.weight.mul_(factor)
            step()
        return replay
    return record


def learned(m: Machine, steps: int) -> np.ndarray:
    for _ in range(steps):
        m.learn()
    return m.learner.rows.remembered(steps)


def assert_as_if_nothing_had_been_tried(tried: Machine, text: str, **options: object) -> None:
    told = [event for event in _reported(tried, 25) if isinstance(event, e.StepsDone)]
    plain = machine(text, **options)
    expected = [event for event in _reported(plain, 25) if isinstance(event, e.StepsDone)]
    assert [(t.first_step, t.loss, t.grad_norm) for t in told] == [(t.first_step, t.loss, t.grad_norm)
                                                                   for t in expected]
    assert told[0].first_step == 1 and sum(len(t.loss) for t in told) == 25
    end = plain.freeze()
    assert tried.progress == plain.progress
    assert all(torch.equal(t, tried.freeze().tensors[name]) for name, t in end.tensors.items())


def _reported(m: Machine, steps: int) -> Iterator[e.Event]:
    reporter = Reporter(m)
    for step in range(1, steps + 1):
        m.learn()
        if step % 10 == 0:
            yield from reporter.flush(wait=False)
    yield from reporter.flush()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_graph_that_computes_the_step_is_taken_and_the_run_is_what_it_was(text: str, case: dict[str, object]) -> None:
    m = machine(text, **case)
    m.capture(faithful)
    assert m.captured and m.graph == "captured" and m.remarks == []
    if not case.get("dropout"):  # a GPU's own dropout cannot be rewound; here the generator can
        assert_as_if_nothing_had_been_tried(m, text, **case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_go_on_without_a_gap_or_a_shift_where_capture_failed(text: str, case: dict[str, object]) -> None:
    m = machine(text, **case)
    m.capture(failing)
    assert not m.captured and m.graph.startswith("eager")
    [remark] = m.remarks
    assert "not permitted when stream is capturing" in remark and "more words" not in remark and "eagerly" in remark
    assert all(p.grad is None for p in m.model.parameters())
    assert m.model.rnn.dropout == m.model.dropout.p == case.get("dropout", 0.0)
    assert_as_if_nothing_had_been_tried(m, text, **case)


def test_a_run_in_the_middle_is_captured_where_it_is(text: str) -> None:
    m, plain = machine(text), machine(text)
    for each in (m, plain):
        learned(each, 13)
    state = torch.get_rng_state()
    m.capture(faithful)
    assert m.progress.step == 13 and np.array_equal(learned(m, 20), learned(plain, 20))
    assert torch.equal(state, torch.get_rng_state())


def test_a_graph_that_lies_is_not_taken_and_one_line_says_what_that_costs(text: str) -> None:
    m = machine(text)
    m.capture(off_by(m, 1.01))
    assert not m.captured and m.graph.startswith("eager: its numbers were off by")
    [remark] = m.remarks
    assert "times as long" in remark
    assert_as_if_nothing_had_been_tried(m, text)


def test_a_graph_within_the_tolerance_is_taken_with_a_remark(text: str) -> None:
    m = machine(text)
    m.capture(off_by(m, 1 + 2e-7))
    assert m.captured and m.graph == "captured"
    [remark] = m.remarks
    assert "not those of eager steps bit for bit" in remark


def test_nothing_is_captured_where_that_is_not_wanted(text: str) -> None:
    m = machine(text, graph="off")
    m.capture(failing)
    assert m.graph == "eager" and m.remarks == []


def test_with_dropout_the_proof_drops_nothing_and_nothing_eager_follows_the_last_capture(text: str) -> None:
    m, calls = machine(text, dropout=0.4), list[tuple[str, float]]()
    real = m.learner.advance

    def advance() -> None:
        calls.append(("eager", m.model.rnn.dropout))
        real()

    m.learner.advance = advance  # type: ignore[method-assign]

    def record(step: Step) -> Step:
        calls.append(("record", m.model.rnn.dropout))

        def replay() -> None:
            calls.append(("replay", m.model.rnn.dropout))
            real()
        return replay

    m.capture(record)
    assert calls == [("eager", 0.0)] * 6 + [("record", 0.0)] + [("replay", 0.0)] * 6 + [("record", 0.4)]
    learned(m, 2)
    assert calls[-2:] == [("replay", 0.4)] * 2


def test_the_last_capture_may_fail_too(text: str) -> None:
    m, count = machine(text, dropout=0.4), [0]

    def record(step: Step) -> Step:
        count[0] += 1
        return faithful(step) if count[0] == 1 else failing(step)

    m.capture(record)
    assert not m.captured and len(m.remarks) == 1 and m.model.dropout.p == 0.4
    assert_as_if_nothing_had_been_tried(m, text, dropout=0.4)


def outcome(losses: list[float], weight: float = 1.0, seconds: float = 1.0) -> Outcome:
    return Outcome(np.array([losses], dtype=np.float32).T, {"model.w": torch.tensor([weight])}, seconds)


@pytest.mark.parametrize(("replayed", "exact", "trusted"), [
    (outcome([2.0, 1.5, 1.25]), True, True),
    (outcome([2.0, 1.5, 1.25], weight=1.0000001), False, True),
    (outcome([2.0, 1.5, 1.250001]), False, True),
    (outcome([2.0, 1.5, 1.2501]), False, False),
    (outcome([2.0, 1.5, float("nan")]), False, False),
    (outcome([2.0, 1.5]), False, False)])
def test_the_proof_is_a_matter_of_numbers_alone(replayed: Outcome, exact: bool, trusted: bool) -> None:
    proof = prove(lambda: outcome([2.0, 1.5, 1.25], seconds=3.0), lambda: replayed)
    assert (proof.exact, proof.trusted, proof.gain) == (exact, trusted, 3.0)


def test_numbers_that_are_not_finite_in_both_are_alike() -> None:
    both = outcome([2.0, float("inf"), float("nan")])
    assert prove(lambda: both, lambda: both).exact


class Cuda:
    """As much of torch.cuda as `record` needs. A capture that fails cannot be ended, as on a GPU: its stream stays."""

    def __init__(self) -> None:
        self.stream_now, self.modes, self.replays = "main", list[str](), 0
        self.default_generators = [Generator()]

    def current_stream(self) -> Any:
        return Stream(self)

    def current_device(self) -> int:
        return 0

    def Stream(self) -> Any:
        return Stream(self, "side")

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream.name
        try:
            yield
        finally:
            self.stream_now = before

    def set_stream(self, stream: Any) -> None:
        self.stream_now = stream.name

    def CUDAGraph(self) -> Any:
        return self

    def replay(self) -> None:
        self.replays += 1

    @contextlib.contextmanager
    def graph(self, graph: Any, *, capture_error_mode: str) -> Iterator[None]:
        self.modes.append(capture_error_mode)
        self.stream_now, self.default_generators[0].state = "capture", "capturing"
        yield
        self.stream_now, self.default_generators[0].state = "main", "idle"


class Stream:
    def __init__(self, cuda: Cuda, name: str | None = None) -> None:
        self.name = name or cuda.stream_now

    def wait_stream(self, other: "Stream") -> None:
        assert other.name != self.name


class Generator:
    state = "idle"

    def clone_state(self) -> str:
        return self.state

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


def test_a_capture_warms_up_beside_and_minds_its_own_threads_errors_alone() -> None:
    cuda, where = Cuda(), list[str]()
    replay = capture.record(lambda: where.append(cuda.stream_now), cuda)
    assert where == ["side"] * capture.WARM_UP + ["capture"] and cuda.modes == ["thread_local"]
    replay()
    assert cuda.replays == 1 and cuda.stream_now == "main"


@pytest.mark.parametrize("at", ["side", "capture"])
def test_a_capture_that_fails_gives_stream_and_generator_back(at: str) -> None:
    cuda = Cuda()

    def step() -> None:
        if cuda.stream_now == at:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        capture.record(step, cuda)
    assert cuda.stream_now == "main" and cuda.default_generators[0].state == "idle"


def test_the_first_event_says_how_steps_run(start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(run="plain").of(e.RunStarted)[0].facts["graph"] == "eager"
    real = Machine.capture
    monkeypatch.setattr(Machine, "capture", lambda machine: real(machine, faithful))
    assert start(run="captured").of(e.RunStarted)[0].facts["graph"] == "captured"


def test_a_resume_that_computes_its_steps_another_way_is_not_called_exact(
        start: Callable[..., Run], resume: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        real = Machine.capture
        patched.setattr(Machine, "capture", lambda machine: real(machine, faithful))
        run = start()
        run.to_step(3)
        run.stop()
    again = resume(run.folder)
    opened = again.of(e.RunResumed)[0]
    assert not opened.exact and opened.why_not == "steps were captured, are eager"
    again.to_step(5)
    again.stop()
    assert resume(run.folder).of(e.RunResumed)[0].exact, "eager before, eager now"


def test_a_gpu_that_breaks_down_ends_a_run_that_has_begun(tmp_path: Path, corpus: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(machine: Machine) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(Machine, "capture", broken)
    folder = RunDirectory(tmp_path / "run")
    folder.create()
    worker = prepare.start(prepare.plan({**TINY, "corpus": str(corpus)}), folder)
    feed = worker.feed()
    worker.start()
    assert worker.join(60)
    first, *_, last = feed.drain()
    assert isinstance(first, e.RunStarted) and isinstance(last, e.RunEnded) and "illegal memory" in last.message


def test_who_insists_on_a_graph_gets_one_or_an_end(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UsageError, match="--graph on: CUDA graphs need an NVIDIA GPU"):
        prepare.plan({**TINY, "corpus": str(corpus), "graph": "on"})
    folder = RunDirectory(tmp_path / "run")
    folder.create()
    worker = prepare.start(prepare.plan({**TINY, "corpus": str(corpus)}), folder)
    m = worker.trainer.machine
    m.config = dataclasses.replace(m.config, graph="on")
    m.capture = lambda: Machine.capture(m, failing)  # type: ignore[method-assign]
    *_, ended = worker.trainer.run()
    assert isinstance(ended, e.RunEnded) and ended.exit_code == ERROR and ended.step == 0
    assert ended.reason.startswith("--graph on: eager: it could not be captured")


@pytest.mark.parametrize(("graph", "record", "expected"), [
    ("auto", faithful, (0.001, "captured")), ("auto", failing, (0.004, "eager")), ("off", failing, (0.004, "eager"))])
def test_what_will_run_is_what_is_timed(monkeypatch: pytest.MonkeyPatch, graph: str, record: Callable[[Step], Step],
                                        expected: tuple[float, str]) -> None:
    now = [0.0]

    def advance(learner: Any) -> None:
        now[0] += 0.004

    def recorder(step: Step) -> Step:
        record(step)

        def replay() -> None:
            now[0] += 0.001
        return replay

    monkeypatch.setattr(rehearsal.Learner, "advance", advance)
    config = Config.of({**TINY, "corpus": "x", "graph": graph})
    found, how = rehearsal.seconds(config, 30, recorder, lambda: now[0])
    assert (found, how) == (pytest.approx(expected[0]), expected[1])


def test_a_rehearsed_step_is_a_real_one() -> None:
    config = Config.of({**TINY, "corpus": "x", "loss": "last"})
    found, how = rehearsal.seconds(config, 30, failing)
    assert how == "eager" and 0 < found < 5


def test_on_a_gpu_the_race_times_the_graph_in_the_runs_own_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "apply", lambda threads: None)
    monkeypatch.setattr(rehearsal, "seconds", lambda config, characters: (0.001, "captured"))
    monkeypatch.setattr(race, "_Runner", lambda *_: pytest.fail("an eager step was timed"))
    config = dataclasses.replace(Config.of({**TINY, "corpus": "x"}), precision="tf32")
    choice, trusted = race._race(config, "cuda", 30, lambda words: None)
    assert (choice.precision, choice.step_seconds, trusted) == ("tf32", 0.001, True)
    assert choice.compared == "captured steps of 0.001 s"
