"""The standing warning: raised, and not yet answered, outgrown or dismissed. Knows nothing of screens.

Answered: somebody set or tightened the clip, lowered the learning rate, landed, or rolled back to before it.
Outgrown: no further warning came for as long as a spike may precede its trouble, and the recurrence, if it was the
reason, is below its threshold again. Dismissed: by a person.
"""

from dataclasses import dataclass, replace

from tuitrain import troubles
from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.lineage import Lineage
from tuitrain.telemetry.readings import Probe

LASTS = 4000
"""Steps without another warning until one is outgrown; natural collapses came one to four thousand steps after."""
OTHERS = (askers.ADVISOR, askers.BUDGET)
"""Who moves knobs without meaning an answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest of `count` warnings, the first of them at step `since`; `lapsed` if it was an unanswered alarm.

    `radius` is the threshold that the recurrence still exceeds, 0 if it was not the reason.
    """

    rule: str
    step: int
    since: int
    count: int
    sentence: str
    radius: float = 0.0
    lapsed: bool = False
    branch: int = 0


def follow(now: Standing | None, event: e.Event, lineage: Lineage) -> Standing | None:
    """Return the standing warning after an event, None if there is none; going back to before it also answers it."""
    if now is not None and not lineage.holds(now.branch, now.step):
        now = None
    match event:
        case f.WarningRaised():
            return _raised(now, event)
        case f.AlarmRaised() | e.Dismissed():
            return None  # an alarm takes its place
    if now is None or _answered(now, event):
        return None
    rule = troubles.rule(now.rule)
    match event:
        case f.VerdictReached(cause=troubles.ODD_BATCH.name) if rule.single:
            return None
        case f.Probed() if now.radius and Probe.of(event).radius < now.radius:
            return None if rule.recurrence else replace(now, radius=0.0)
        case e.StepsDone() if not now.radius and event.first_step + len(event.loss) > now.step + LASTS:
            return None
    return now


def _raised(now: Standing | None, event: f.WarningRaised) -> Standing:
    rule = troubles.rule(event.rule)
    if now is None or now.lapsed or troubles.rule(now.rule).single:
        radius = event.threshold if rule.recurrence else 0.0
        return Standing(event.rule, event.step, event.step, 1, event.sentence, radius, branch=event.branch)
    if rule.single:
        return now  # a single unusual step matters less than the standing warning
    return Standing(event.rule, event.step, now.since, now.count + 1, event.sentence,
                    event.threshold if rule.recurrence else now.radius, branch=event.branch)


def mends(event: e.Event) -> bool:
    """Return whether somebody did what answers an alarm too: a lower learning rate, or landing."""
    match event:
        case e.KnobChanged(name="lr", by=by) if by not in OTHERS:
            return float(event.new) < float(event.old)  # type: ignore[arg-type]
        case e.LandingStarted():
            return True
    return False


def _answered(now: Standing, event: e.Event) -> bool:
    match event:
        case e.KnobChanged(name="clip", by=by) if by not in OTHERS and not now.lapsed:
            old, new = float(event.old), float(event.new)  # type: ignore[arg-type]
            return new > 0 and (old == 0 or new < old)
        case e.KnobChanged(name="clip_auto", new=new):
            return bool(new) and not now.lapsed
    return mends(event)
