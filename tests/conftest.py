"""A tiny text, a tiny model, and ways to drive a trainer without a thread."""

import os

os.environ["TUITRAIN_MALLOPT"] = "0"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest
import torch

from tuitrain.charlstm import prepare
from tuitrain.engine.worker import Worker
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.run.directory import RunDirectory

# A shell that starts the tests in the background has them ignore these, and so would every process that they start.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL),
                        (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TINY: dict[str, Any] = {
    "layers": 2, "hidden": 16, "embedding": 8, "batch_size": 4, "bptt": 10, "lr": 0.01, "threads": 1,
    "precision": "fp32", "device": "cpu", "evaluate_every": 1000, "sample_every": 1000, "checkpoint_every": 1000,
    "snapshot_every": 10, "warmup": 0, "sample_length": 20,
}
# By default hypothesis fails an example that takes longer than 200 ms, and on a busy machine any may.
hypothesis.settings.register_profile("tuitrain", deadline=None)
hypothesis.settings.load_profile("tuitrain")


@pytest.fixture(autouse=True)
def _one_thread(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name in ("CACHE", "CONFIG", "STATE"):  # nothing of the person's who runs the tests
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path_factory.getbasetemp() / name.lower()))


@pytest.fixture(scope="session")
def text() -> str:
    """About 6,000 characters with some order in them."""
    rng = random.Random(3)
    words = ["the", "tide", "came", "late", "and", "nobody", "saw", "it", "harbour", "bell", "rang", "twice"]
    return " ".join(rng.choice(words) + rng.choice(["", "", "", ",", ".\n"]) for _ in range(1200))


@pytest.fixture
def corpus(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(text)
    return path


class Run:
    """A worker's trainer, driven step by step in the test's own thread."""

    def __init__(self, worker: Worker, folder: RunDirectory) -> None:
        self.worker, self.trainer, self.folder = worker, worker.trainer, folder
        self.machine: Any = self.trainer.machine
        self.evaluations, self.probes, self.samples = cast(tuple[Any, Any, Any], self.trainer.asides)
        self.events: list[e.Event] = []
        self._journal = worker._journal
        self._stream = self.trainer.run()
        self._ids = 0

    def ask(self, kind: type[c.Command], **values: Any) -> str:
        self._ids += 1
        id = f"t{self._ids}"
        self.trainer.orders.inbox.put(kind(id=id, by="test", **values))
        return id

    def until(self, done: Callable[[e.Event], bool]) -> e.Event:
        for event in self._stream:
            self.events.append(event)
            self._journal.write(event)
            if done(event):
                return event
        raise AssertionError("the run ended first")

    def answer(self, kind: type[c.Command], **values: Any) -> Any:
        """The event that confirms or refuses a command."""
        id = self.ask(kind, **values)
        return self.until(lambda event: getattr(event, "id", None) == id)

    def to_step(self, step: int) -> None:
        """Learn until the machine is exactly at this step."""
        while self.machine.progress.step < step:
            self.machine.learn()
            for event in self.trainer._after_step():
                self.events.append(event)
                self._journal.write(event)
        assert self.machine.progress.step == step

    def finish(self) -> e.RunEnded:
        ended = self.until(lambda event: isinstance(event, e.RunEnded))
        assert isinstance(ended, e.RunEnded)
        return ended

    def stop(self) -> e.RunEnded:
        self.ask(c.Stop)
        return self.finish()

    def losses(self, branch: int | None = None) -> dict[int, float]:
        """Loss by step as told (of a branch, or the latest told for each step)."""
        told: dict[int, float] = {}
        for event in self.events:
            if isinstance(event, e.StepsDone) and branch in (None, event.branch):
                told |= {event.first_step + i: loss for i, loss in enumerate(event.loss)}
        return told

    def of(self, kind: type[e.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def start(tmp_path: Path, corpus: Path) -> Iterator[Callable[..., Run]]:
    """start(**options) -> a Run that has set out; each is ended when the test is."""
    runs: list[Run] = []

    def begin(*, run: str = "run", **options: Any) -> Run:
        folder = RunDirectory(tmp_path / run)
        folder.create()
        worker = prepare.start(prepare.plan({**TINY, "corpus": str(corpus), **options}), folder)
        runs.append(Run(worker, folder))
        runs[-1].answer(c.AddNote, text="the test begins")
        return runs[-1]

    yield begin
    for run in runs:
        run.trainer.saves.abandon()


@pytest.fixture
def resume() -> Iterator[Callable[..., Run]]:
    """resume(folder, steps=..., knobs=...) -> a Run that has set out again."""
    runs: list[Run] = []

    def again(folder: RunDirectory, **options: Any) -> Run:
        options = {"steps": None, "knobs": {}, "corpus_path": None, **options}
        runs.append(Run(prepare.resume(folder, **options), folder))
        runs[-1].answer(c.AddNote, text="the test begins")
        return runs[-1]

    yield again
    for run in runs:
        run.trainer.saves.abandon()
