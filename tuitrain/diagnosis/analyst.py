"""Turns a run's events into warnings, alarms, verdicts and advice; the rules and their numbers are in other modules.

An alarm is followed by a verdict as soon as a probe of the broken weights arrives, or some steps later without one.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tuitrain import specs, troubles
from tuitrain.diagnosis.acts import Acts, Raised, since
from tuitrain.diagnosis.clip_advisor import advise
from tuitrain.diagnosis.detector import Finding, Level, Validation, sized
from tuitrain.diagnosis.growth import Growth
from tuitrain.diagnosis.memory import Memory
from tuitrain.diagnosis.signs import Signs
from tuitrain.diagnosis.tail import Surprise, Tail
from tuitrain.diagnosis.verdict import judge
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.facts import AFTER_CLIPPING, LETTERS, RunFacts
from tuitrain.telemetry.readings import Probe
from tuitrain.telemetry.units import BITS, loss_words, number

STREAK = 20
"""Consecutive non-finite steps after which training counts as broken."""
PATIENCE = 3
"""Drains after an alarm until a verdict is reached without a probe: a fast run has hundreds of steps per drain."""
RECOVERY = 20
STILL_HIGH, BACK = 0.5, 0.1
"""Nats above the usual loss: above the first a step after an outlier counts as high, below the second the loss is where
it was."""
SICK = 500
"""Steps after a spike within which a single high loss is blamed on the weights, not on the batch."""


class Analyst:
    """Analyses a run; `consider` takes every event, in order."""

    def __init__(self) -> None:
        self._unit = BITS
        self._advises = True
        """Whether the norms are those before clipping, so that they can advise a clip."""
        self._optimizer, self._betas, self._alpha = "adam", (0.9, 0.999), 0.99
        self._branch = self._step = 0
        self._acts = Acts()
        self._clip = 0.0
        self._epoch = 0.0
        self._begin(0, math.inf, 10**6)

    def _begin(self, warmup: int, chance: float, targets: int, carried: bool = True) -> None:
        self.level, self.tail = Level(warmup, chance, targets, carried, self._unit), Tail(warmup, self._own)
        self.surprise, self.validation, self.growth = Surprise(), Validation(self._unit), Growth()
        self.memory = Memory()
        self._alarm: Finding | None = None
        self._raised: tuple[Raised, ...] = ()
        """Acts of a person that may have caused the alarm."""
        self._outlier: Finding | None = None
        self._skipped = self._waited = 0
        self._made = self._overfit_reported = False

    @property
    def _own(self) -> bool:
        """Whether the model is one of ours, which learns text."""
        return self._unit == BITS

    def consider(self, event: e.Event) -> Iterator[e.Event]:
        """Yield the findings that follow from an event, often none."""
        match event:
            case e.RunStarted() | e.RunResumed():
                self._open(event)
            case e.StepsDone():
                yield from self._learned(event)
            case f.Measured():
                yield from self._measured(event)
            case e.Evaluated():
                yield from self._evaluated(event)
            case f.Probed():
                probe = Probe.of(event)
                self.memory.probes.append(probe)
                grown = self.growth.take(event.step, probe.radius)
                if grown is not None:
                    yield from self._found(grown)
                if self._alarm is not None and event.step >= self._alarm.step:
                    yield from self._conclude()
            case f.BlackBoxKept():
                self.memory.replayed = event
            case e.StepSkipped():
                yield from self._not_finite(event)
            case e.KnobChanged():
                self._turned(event)
            case e.RolledBack():
                self._branch, self._step = event.branch, event.to_step
                self._moved()
                self._set(event.knobs, self._acts.back(event.from_branch, event.to_step, event.knobs, event.by))
            case e.Undone():
                left = self._branch
                moved = (event.branch, event.step) != (left, self._step)
                self._branch, self._step = event.branch, event.step
                if moved:
                    self._moved()
                self._set(event.knobs, self._acts.undone(left, event.branch, event.step, event.knobs, event.by))

    def _open(self, event: e.RunStarted | e.RunResumed) -> None:
        config, facts = event.config, RunFacts.of(event.facts)
        self._optimizer = str(config.get("optimizer", "adam"))
        self.memory.cell = specs.cell(config)
        betas = config.get("betas", (0.9, 0.999))
        self._betas, self._alpha = (float(betas[0]), float(betas[1])), float(config.get("alpha", 0.99))
        self._unit = facts.capabilities.loss
        self._advises = facts.norms != AFTER_CLIPPING
        alone = facts.levels.get(LETTERS)
        targets = int(config.get("batch_size", 1)) * (int(config.get("bptt", 1)) if config.get("loss") != "last" else 1)
        carried = config.get("loss") != "last"
        if "bptt" not in config:  # unknown batches are assumed to be large and independent
            targets, carried = 10**6, False
        self._begin(facts.warmup, alone * math.log(2) if alone else math.inf, targets, carried)
        knobs = facts.knobs
        before = knobs
        if isinstance(event, e.RunResumed):
            self._branch, self._step = event.branch, event.step
            before = facts.knobs_before
        self._set(knobs, self._acts.begin(self._step, knobs, before))

    def _moved(self) -> None:
        self.level.moved(self._step)
        self.memory.back_to(self._step)
        self.growth.back_to(self._step)
        self._alarm = self._outlier = None
        self._skipped = 0

    def _turned(self, event: e.KnobChanged) -> None:
        if event.name in ("lr", "clip"):
            old, new = float(event.old), float(event.new)  # type: ignore[arg-type]
            self._set({event.name: new}, self._acts.turned(event.step, event.name, old, new, event.by))

    def _set(self, knobs: e.Json, larger: bool) -> None:
        """Note the knobs in force, and whether a person made steps `larger` with them."""
        self._clip = float(knobs.get("clip", self._clip))
        if larger:
            self.level.turned(self._step)

    def _learned(self, event: e.StepsDone) -> Iterator[e.Event]:
        self._branch = event.branch
        if int(event.epoch) > int(self._epoch):
            self.level.seam(event.first_step)
        self._epoch = event.epoch
        self.memory.learned(event)
        for i, (loss, norm) in enumerate(zip(event.loss, event.grad_norm, strict=True)):
            step = self._step = event.first_step + i
            self.memory.losses.append((step, loss))
            for found in (self.tail.take(step, norm), self.level.take(step, loss)):
                if found is not None:
                    yield from self._found(found)
            self.memory.norms.append((step, norm))
        if self._outlier is not None and self._step >= self._outlier.step + RECOVERY:
            yield from self._after_outlier(self._outlier)
        if self._alarm is not None:
            self._waited += 1
            if self._waited > PATIENCE:
                yield from self._conclude()

    def _found(self, found: Finding) -> Iterator[e.Event]:
        place: dict[str, Any] = {
            "branch": self._branch, "step": found.step, "onset": found.onset, "rule": found.rule.name,
            "value": found.value, "threshold": found.threshold, "sentence": found.sentence}
        if found.rule.alarm:
            self._alarm, self._outlier, self._waited = found, None, -1
            self._raised = (self._acts.raised(found.onset, found.step, self.memory.largest) if found.rule.own else ())
            yield f.AlarmRaised(**place, since=since(self._raised))
            return
        if self._alarm is not None or self.level.broken:
            return  # warnings are pointless once training is broken
        if found.rule.single:
            if self._outlier is not None:
                return
            self._outlier = found
        yield f.WarningRaised(**place)
        if found.rule.advises:
            yield from self._advise()

    def _advise(self) -> Iterator[e.Event]:
        norms = np.array([norm for _, norm in self.memory.norms])
        advice = advise(norms, self._clip, self._optimizer, self._betas) if self._advises else None
        if advice is not None:
            yield f.AdviceGiven(branch=self._branch, step=self._step, knob="clip", value=advice.value, low=advice.low,
                                high=advice.high, sentence=advice.sentence)

    def _measured(self, event: f.Measured) -> Iterator[e.Event]:
        for step, reading in self.memory.read(event):
            found = self.surprise.take(step, reading["rms"])
            if found is not None and step > self.level.quiet:
                yield from self._found(found)

    def _evaluated(self, event: e.Evaluated) -> Iterator[e.Event]:
        if event.part or event.reason not in (e.INTERVAL, e.EPOCH):
            return
        if self.level.broken:
            self.validation.forget()
        found = self.validation.take(event.step, event.loss, self.level.mean, self.level.best)
        if found is not None and self._alarm is None and not self.level.broken:
            yield from self._found(found)
        elif self.validation.overfits() and not self._overfit_reported:
            self._overfit_reported = True
            yield from self._verdict(Signs(self._optimizer, overfits=True, rule=None),
                                     self.validation.best_at, alarming=False)

    def _not_finite(self, event: e.StepSkipped) -> Iterator[e.Event]:
        if event.rule == troubles.LOSS_SCALE.name and event.streak < STREAK:
            return
        self._skipped += event.count
        if event.streak < STREAK:
            if self._skipped == event.count:
                signs = Signs(self._optimizer, skipped=event.count, rule=troubles.NOT_FINITE, made=not event.kept)
                yield from self._verdict(signs, event.onset, alarming=False)
        elif self._alarm is None and event.streak - event.count < STREAK:  # once for all of a streak
            self._made = not event.kept
            onset = event.step - event.streak + 1
            last = next((norm for step, norm in reversed(self.memory.norms) if step < onset), math.nan)
            yield from self._found(Finding(
                troubles.NOT_FINITE, event.step, onset, event.value, math.inf,
                f"no step since {onset:,} had finite numbers; the gradient norm before was {number(last)}"))
            yield from self._conclude()

    def _after_outlier(self, found: Finding) -> Iterator[e.Event]:
        self._outlier = None
        if any(found.step - SICK <= step <= found.step + RECOVERY for step in self.tail.spikes):
            return  # the batch was ordinary: the weights are unstable
        after = [loss for step, loss in self.memory.losses if step > found.step + RECOVERY // 2 and math.isfinite(loss)]
        before = [loss for step, loss in self.memory.losses if step < found.step and math.isfinite(loss)]
        usual = float(np.median(before))
        high = [loss for step, loss in self.memory.losses if found.step <= step < found.step + RECOVERY // 2
                and loss > usual + sized(STILL_HIGH, usual, self._unit)]
        if not after or np.median(after) > usual + sized(BACK, usual, self._unit) or len(high) > 3:
            return
        odd = troubles.ODD_BATCH
        words = odd.words_in(own=self._own)
        yield f.VerdictReached(
            branch=self._branch, step=self._step, onset=found.step, cause=odd.name, sentence=words.sentence,
            remedy=words.remedy, runner_up=troubles.BAD_DATA.name, alarming=False,
            evidence=(found.sentence, f"{RECOVERY} steps later the loss was where it had been "
                                      f"({loss_words(float(np.median(after)), self._unit, 2)})"),
            against="the steps after it were ordinary")

    def _conclude(self) -> Iterator[e.Event]:
        alarm = self._alarm
        if alarm is None:
            return
        self._alarm = None
        signs = self.memory.signs(alarm, self._optimizer, self.tail.spikes, self.tail.median, self._skipped,
                                  specs.optimizer(self._optimizer).longest(self._betas, self._alpha), self._raised)
        signs.made = self._made
        yield from self._advise_from_before(alarm.onset)  # before the verdict, whose remedy also sets the clip
        yield from self._verdict(signs, alarm.onset, alarming=True)

    def _advise_from_before(self, onset: int) -> Iterator[e.Event]:
        norms = np.array([norm for step, norm in self.memory.norms if step < onset - 20])
        advice = advise(norms, self._clip, self._optimizer, self._betas) if self._advises else None
        if advice is not None:
            yield f.AdviceGiven(branch=self._branch, step=self._step, knob="clip", value=advice.value, low=advice.low,
                                high=advice.high, sentence=advice.sentence)

    def _verdict(self, signs: Signs, onset: int, *, alarming: bool) -> Iterator[e.Event]:
        signs.own = self._own
        found = judge(signs)
        yield f.VerdictReached(
            branch=self._branch, step=self._step, onset=onset, cause=found.cause, sentence=found.sentence,
            evidence=found.evidence, runner_up=found.runner_up, against=found.against, remedy=found.remedy,
            alarming=alarming)
