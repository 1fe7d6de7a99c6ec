"""The guard: reads events and sends the commands that a person would send; it does nothing else.

On an alarm it requests the black box and a probe, and pauses if that is its mode. On the verdict it rolls back as the
remedy says, three times at most, then stops. After a sudden fault the previous learning rate was right, so it is
restored step by step while training stays healthy. On a warning it pins an earlier restore point and, if its mode lets
it act, sets the advised clip.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from tuitrain import troubles
from tuitrain.diagnosis.remedy import LR_FACTORS, remedy
from tuitrain.errors import DIVERGED
from tuitrain.protocol import askers
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.capabilities import EVERYTHING, Capabilities
from tuitrain.protocol.capabilities import KEY as CAPABILITIES
from tuitrain.protocol.facts import RunFacts

GRACE = 2000
"""Steps without an alarm after which the count of rollbacks starts again."""
COUNTDOWN = 120.0
"""Seconds that a pause waits for a person."""
REST = 60
"""Quiet steps between doublings of a rate that was lowered for a sudden fault, until it is what it was."""
ACTS = ("rollback", "stop")
CLOSE = 1.2
"""Ratio to the advised clip up to which a clip is left unchanged, because each change is reported."""


class Guard:
    """Yields commands in `react` to events and in `tick` as time passes; `mode` is warn, pause, rollback or stop."""

    def __init__(self, mode: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.mode = mode
        self._clock = clock
        self._ids = count(1)
        self._rollbacks = 0
        self._last_alarm = 0
        self._alarm: f.AlarmRaised | None = None
        self._since: float | None = None
        """When the countdown of a pause began; None while there is none."""
        self._clients = 0
        self._offers = EVERYTHING
        self.watched = False
        """Whether a cockpit in this process is watching."""
        self._advice: f.AdviceGiven | None = None
        self._spikes: list[tuple[int, int]] = []
        self._automatic, self._clip = False, 0.0
        self._concluded: f.VerdictReached | None = None
        self._owed: tuple[float, float, int] | None = None
        """(rate in force, rate to restore, step of the next doubling)."""
        self._returning: tuple[str, float] = ("", 1.0)
        """The id of the rollback whose rate is to be restored, and its factor."""

    def react(self, event: e.Event) -> Iterator[c.Command]:
        """Yield the commands that an event calls for, often none."""
        match event:
            case e.RunStarted() | e.RunResumed():
                facts = RunFacts.of(event.facts)
                self._offers, knobs = facts.capabilities, facts.knobs
                self._automatic, self._clip = bool(knobs.get("clip_auto", False)), float(knobs.get("clip", 0.0))
            case e.FactsAdded():
                self._offers = Capabilities.of(event.facts) if CAPABILITIES in event.facts else self._offers
            case e.GuardModeChanged():
                self.mode = event.new
            case e.KnobChanged(name="clip_auto"):
                self._automatic = bool(event.new)
            case e.KnobChanged(name="clip"):
                self._clip = float(event.new)  # type: ignore[arg-type]
            case e.KnobChanged(name="lr") | e.Undone() | e.LandingStarted() if event.by != askers.GUARD:
                self._owed = None  # somebody else has taken over
            case e.StepsDone() if self._owed is not None:
                yield from self._restore_rate(event.first_step + len(event.loss))
            case e.ClientJoined() | e.ClientLeft():
                self._clients = event.clients
            case e.RolledBack() | e.RunEnded() | e.Continued():
                answered = self._since is not None and isinstance(event, e.RolledBack)
                self._alarm, self._since, self._concluded = None, None, None
                if isinstance(event, e.RolledBack):
                    self._clip = float(event.knobs.get("clip", self._clip))
                    self._owe(event)
                if answered:  # the guard had paused for a person, who has rolled back
                    yield c.Continue(**self._who())
            case f.WarningRaised():
                yield from self._warned(event)
            case f.AdviceGiven():
                self._advice = event
                yield from self._advised(event)
            case f.AlarmRaised():
                yield from self._alarmed(event)
            case f.VerdictReached(alarming=True):
                yield from self._concluded_with(event)

    def tick(self) -> Iterator[c.Command]:
        """End a pause with a rollback when its countdown is over, at once if nobody is watching."""
        if self._since is None or self._concluded is None:
            return
        if not (self._clients or self.watched) or self._clock() - self._since >= COUNTDOWN:
            self._since = None
            yield from self._roll_back(self._concluded)
            yield c.Continue(**self._who())

    @property
    def seconds_left(self) -> float | None:
        """Seconds left of the countdown; None while there is none."""
        return None if self._since is None else max(0.0, COUNTDOWN - (self._clock() - self._since))

    def _warned(self, event: f.WarningRaised) -> Iterator[c.Command]:
        rule = troubles.rule(event.rule)
        if rule.spike:
            self._spikes.append((event.branch, event.onset))
            self._owed = None
        if rule.pins:
            yield c.PinSnapshot(to=max(0, event.onset - 1), **self._who())

    def _advised(self, event: f.AdviceGiven) -> Iterator[c.Command]:
        """Set the advised clip after a warning, if the mode lets the guard act: it costs nothing."""
        calm = self._alarm is None and self._concluded is None
        loose = self._clip == 0 or self._clip > CLOSE * event.value
        offered = not self._offers.why_not(c.SetKnob, "clip")
        if calm and loose and offered and self.mode in ACTS and not self._automatic:
            yield c.SetKnob(name="clip", value=event.value, **self._who())

    def _alarmed(self, event: f.AlarmRaised) -> Iterator[c.Command]:
        if event.step - self._last_alarm > GRACE:
            self._rollbacks = 0
        self._last_alarm, self._alarm, self._owed = event.step, event, None
        looks = (c.KeepBlackBox(onset=event.onset, **self._who()), c.LookInside(**self._who()))
        yield from (look for look in looks if not self._offers.why_not(look))
        if self.mode == "pause":
            yield c.Pause(**self._who())

    def _concluded_with(self, event: f.VerdictReached) -> Iterator[c.Command]:
        self._concluded = event
        if self.mode == "pause":
            self._since = self._clock()
        elif self.mode == "rollback":
            yield from self._roll_back(event)
        elif self.mode == "stop":
            yield c.Stop(reason="diverged", exit_code=DIVERGED, **self._who())

    def _roll_back(self, event: f.VerdictReached) -> Iterator[c.Command]:
        if self._rollbacks >= len(LR_FACTORS):
            yield c.Stop(reason="diverged", exit_code=DIVERGED, **self._who())
            return
        advised = (self._advice.value, self._advice.low) if self._advice is not None else None
        found = remedy(event.cause, (event.branch, event.onset), self._spikes,
                       lambda branch, step: branch == event.branch, clip=self._clip, advised=advised,
                       tried=self._rollbacks)
        if found is None:
            return
        self._rollbacks += 1
        who = self._who()
        if troubles.cause(event.cause).passes and self._rollbacks == 1 and found.lr_factor is not None:
            self._returning = (who["id"], found.lr_factor)
        yield c.Rollback(to=found.to, healthy=True, lr_factor=found.lr_factor, clip=found.clip,
                         skip_batches=found.skipped(found.to), **who)

    def _owe(self, event: e.RolledBack) -> None:
        """Plan to restore the rate after the guard's own rollback for too large steps; any other ends the plan."""
        rollback, factor = self._returning
        rate = float(event.knobs.get("lr", 0.0))
        self._owed = (rate, rate / factor, event.to_step + REST) if event.id == rollback else None

    def _restore_rate(self, step: int) -> Iterator[c.Command]:
        assert self._owed is not None
        rate, full, due = self._owed
        if step < due:
            return
        rate = min(2 * rate, full)
        self._owed = (rate, full, step + REST) if rate < full else None
        yield c.SetKnob(name="lr", value=rate, **self._who())

    def _who(self) -> dict[str, Any]:
        return {"id": f"guard-{next(self._ids)}", "by": askers.GUARD}
