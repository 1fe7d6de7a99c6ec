"""Draws samples when they are due, a few characters at a time within a share of the wall time.

Sampling uses its own copy of the weights and its own generator, so it cannot change what training does next.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuitrain.charlstm.asides.pace import Pace
from tuitrain.charlstm.looks.sample_health import SampleHealth
from tuitrain.charlstm.looks.sampler import NumpyRNN, Stream
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.text import corpus
from tuitrain.engine.snapshot import Snapshot
from tuitrain.engine.steering import Steering
from tuitrain.errors import Refused
from tuitrain.intervals import Every, Timer
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import EngineSaid, EpochEnded, Event, SampleDrawn, SamplePiece, WorkAdvanced
from tuitrain.telemetry.units import many

BUDGET, AWAITED = 0.01, 0.3
"""Shares of the time that sampling may take during training: for scheduled samples, and when somebody waits for one."""
BURST = 0.03
"""Seconds of allowance that accumulate before characters are drawn: few long bursts, because each has to load the
weights into the caches, and training has to reload its own afterwards."""
SAVED = 0.1
"""Maximum seconds of allowance that accumulate over several steps."""
PIECE = 16
"""Characters processed between two readings of the clock."""
EXCERPT = 80
PLAIN = 0.9
"""Minimum temperature of samples whose health is measured: a lower one hides what the model has lost."""


@dataclass(slots=True)
class _Sample:
    snapshot: Snapshot
    temperature: float
    id: str
    by: str
    prompt: str = ""
    stream: Stream | None = None
    text: str = ""


class Samples:
    """Draws samples from frozen weights, a few characters at a time within a share of the time."""

    answers: tuple[type[c.Command], ...] = (c.DrawSample, c.SetPrompt)

    def __init__(self, machine: Machine, every: Every, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._clock = machine, clock
        # Not earlier: a model's first samples are unreadable.
        self._timer = Timer(every, early=(2,), fresh=not machine.progress.step, clock=clock)
        self._waiting: deque[_Sample] = deque()
        self._model: tuple[Snapshot, NumpyRNN] | None = None
        self._allowance, self._since = 0.0, clock()
        self._pace = Pace()
        self._remarked: set[str] = set()
        self._tables: SampleHealth | None = None
        self._drawn: deque[tuple[int, str]] = deque(maxlen=3)

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Queue what is due and draw a few characters of waiting samples."""
        if not self._waiting and self._timer.due(self._machine.progress.step):
            self.start()
        yield from self.advance(AWAITED if any(s.id for s in self._waiting) else BUDGET)

    def while_paused(self) -> Iterator[Event]:
        """Draw during half of the time while training is paused."""
        yield from self.advance(0.5)

    def answer(self, command: c.Command, steering: Steering) -> Iterator[Event]:
        """Change the prompt, or draw samples, the last of which answers the command."""
        if isinstance(command, c.SetPrompt):
            yield from steering.set_prompt(command)
            return
        self.start(command.id, command.by)
        yield WorkAdvanced(what="samples", done=0, of=1, answers=command.id)

    def start(self, id: str = "", by: str = "") -> None:
        """Queue one sample per temperature from the present weights; the last one answers `id`. Raises Refused."""
        if len(self._waiting) > 24:
            raise Refused("samples are waiting to be drawn already; wait for them")
        snapshot = self._machine.freeze()
        temperatures = self._machine.knobs.temperature
        for i, temperature in enumerate(temperatures):
            answer = (id, by) if i == len(temperatures) - 1 else ("", by)
            self._waiting.append(_Sample(snapshot, temperature, *answer))

    def advance(self, share: float) -> Iterator[Event]:
        """Spend up to `share` of the time since the last call, in bursts."""
        now = self._clock()
        earned = share * (now - self._since)
        # What was not used is not saved up, but a step of seconds earns more than the most that is.
        self._allowance = min(max(SAVED, earned), self._allowance + earned)
        self._since = now
        if self._allowance < BURST:
            return
        while self._waiting and self._allowance > 0:
            sample = self._waiting[0]
            yield from self._begin(sample)
            assert sample.stream is not None
            ids, bits = sample.stream.advance(PIECE)
            if ids:
                piece = corpus.decode(np.array(ids, dtype=np.uint32), self._machine.corpus.vocabulary)
                first, sample.text = not sample.text, sample.text + piece
                yield SamplePiece(branch=sample.snapshot.branch, step=sample.snapshot.step, text=piece,
                                  temperature=sample.temperature, prompt=sample.prompt, first=first,
                                  bits=tuple(round(b, 2) for b in bits))
            if sample.stream.done:
                self._waiting.popleft()
                yield SampleDrawn(branch=sample.snapshot.branch, step=sample.snapshot.step, health=self._health(sample),
                                  temperature=sample.temperature, prompt=sample.prompt, text=sample.text,
                                  id=sample.id, by=sample.by)
            then = self._clock()
            self._pace.took(then - now, PIECE)
            self._allowance -= then - now
            self._since = now = then
        if not self._waiting:
            self._model = None
        yield from self._on_the_way()

    def _on_the_way(self) -> Iterator[WorkAdvanced]:
        """Yield the progress of the samples that somebody waits for, including those before them."""
        asked = [i for i, s in enumerate(self._waiting) if s.id]
        if asked:
            before, length = list(self._waiting)[: asked[0] + 1], self._machine.config.sample_length
            texts = max(len(before), len(self._machine.knobs.temperature))
            left = sum(length - len(s.text) for s in before)
            yield WorkAdvanced(what="samples", done=max(0, texts * length - left), of=texts * length,
                               answers=before[-1].id)

    @property
    def closing_seconds(self) -> float:
        """Estimated seconds of the samples that are due at the end, by the pace of the last characters."""
        texts = len(self._waiting) or len(self._machine.knobs.temperature)
        return self._pace.seconds(texts * self._machine.config.sample_length)

    def finish(self, everything: bool, until: float = math.inf) -> Iterator[Event]:
        """Draw the requested samples; with `everything` all waiting ones, or if there are none, new ones."""
        if everything and not self._waiting:
            self.start()
        asked = {s.snapshot.step for s in self._waiting if s.id}
        self._waiting = deque(s for s in self._waiting if everything or s.snapshot.step in asked)
        while self._waiting and self._clock() < until:
            self._allowance = SAVED
            yield from self.advance(0.0)
        if self._waiting:
            yield EngineSaid(text=f"the minutes are over: {many(len(self._waiting), 'sample')} left undrawn")
            self._waiting.clear()

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def _health(self, sample: _Sample) -> Mapping[str, float]:
        """Measure the newest samples; empty at a low temperature, which hides what has gone wrong."""
        if sample.temperature < PLAIN:
            return {}
        if self._tables is None:
            text = self._machine.corpus
            self._tables = SampleHealth(corpus.decode(text.train, text.vocabulary),
                                        corpus.decode(text.validation, text.vocabulary))
        self._drawn.append((sample.snapshot.branch, sample.text))
        return self._tables.read("".join(text for branch, text in self._drawn if branch == sample.snapshot.branch))

    def _begin(self, sample: _Sample) -> Iterator[Event]:
        if sample.stream is not None:
            return
        if self._model is None or self._model[0] is not sample.snapshot:
            config = self._machine.config
            weights = {name: t.float().cpu().numpy() for name, t in sample.snapshot.part("model").items()}
            self._model = (sample.snapshot, NumpyRNN(weights, config.cell, config.layers))
        seed = (self._machine.config.seed, sample.snapshot.branch, sample.snapshot.step,
                round(sample.temperature * 1000))
        rng = np.random.default_rng(seed)
        ids, unknown = self._prompt(rng)
        sample.prompt = corpus.decode(ids, self._machine.corpus.vocabulary)
        if unknown and unknown not in self._remarked:
            self._remarked.add(unknown)
            yield EngineSaid(level="warning", text=f"the prompt's characters {unknown!r} are not in the text "
                                                   "and are left out of it")
        sample.stream = Stream(self._model[1], ids, self._machine.config.sample_length, sample.temperature, rng)

    def _prompt(self, rng: np.random.Generator) -> tuple[Any, str]:
        prompt = self._machine.knobs.prompt
        if prompt != "random":
            return corpus.encode(prompt, self._machine.corpus.vocabulary)
        validation = self._machine.corpus.validation
        start = int(rng.integers(max(1, len(validation) - EXCERPT)))
        return validation[start : start + EXCERPT], ""
