"""Describes events for a person: one sentence per event, the same in the log, without a screen and in `send`."""

from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.telemetry.units import BITS, loss_words, many, number, safe, size


def sentence(event: e.Event, unit: LossUnit = BITS, said: str = "") -> str:
    """Return the sentence of an intervention, with losses in this unit; empty for other events.

    `said` is the sentence of the alarm that stands: the reader has been told it, so a verdict does not repeat it.
    """
    match event:
        case e.KnobChanged(by=askers.BUDGET):
            return ""  # an estimate of the last step, every few seconds: minutes are what was asked for
        case e.KnobChanged():
            return turned(event.name, event.old, event.new)
        case e.PromptChanged():
            return f"prompt {safe(event.new)!r}"
        case e.RolledBack() if event.arm:
            return (f"arm {safe(event.arm)} chosen: its steps from {event.to_step:,} on are branch {event.branch}, "
                    f"lr {number(float(event.knobs['lr']))}, clip {shown('clip', event.knobs['clip'])}")
        case e.RolledBack():
            asked = "" if event.asked in (None, event.to_step) else f", the last point before {event.asked:,}"
            over = "over" if event.to_step > event.from_step else "back"
            of = "" if event.parent in (None, event.from_branch) else f" of branch {event.parent}"
            return (f"{over} from step {event.from_step:,} to {event.to_step:,}{of}{asked}: branch {event.branch}, "
                    f"lr {number(float(event.knobs['lr']))}, clip {shown('clip', event.knobs['clip'])}")
        case e.RaceStarted():
            stands = "; training stands meanwhile" if event.stands else ""
            if event.mark:
                return f"did it help? a control of {event.steps:,} steps without {safe(event.mark)}{stands}"
            return (f"race of {many(len(event.arms), 'arm')} of {event.steps:,} steps from step {event.step:,}, "
                    f"{safe(event.where)}{stands}")
        case e.RaceEnded():
            return f"race {safe(event.reason)}" + (f"; {safe(event.advice)}" if event.advice else "")
        case e.Undone():
            return f"undone: {safe(event.what)}; now at step {event.step:,} on branch {event.branch}"
        case e.EngineSaid() if event.id:
            return safe(event.text)
        case e.SnapshotTaken() if event.id:
            return f"snapshot {event.point}, {size(event.bytes)}"
        case e.Paused():
            return "paused"
        case e.Continued():
            return "goes on"
        case e.GuardModeChanged():
            return f"guard {event.old} → {event.new}"
        case e.LandingStarted():
            return f"landing over the next {event.steps:,} steps"
        case e.NoteAdded():
            return f"note: {safe(event.text)}"
        case e.Dismissed():
            return "warning dismissed"
        case e.CheckpointSaved():
            return f"checkpoint {event.path}, {size(event.bytes)}"
        case e.Evaluated():
            return f"validation {loss_words(event.loss, unit, 4)} at step {event.step:,}"
        case e.SampleDrawn() if not event.temperature:
            return f"sample:\n{safe(event.text, newlines=True)}"
        case e.SampleDrawn():
            return f"sample at temperature {number(event.temperature)}:\n{safe(event.text, newlines=True)}"
        case f.WarningRaised():
            return f"warning: {safe(event.sentence)}"
        case f.AlarmRaised():
            return f"ALARM: {safe(event.sentence)}"
        case f.VerdictReached():
            return (f"why: {event.cause.replace('_', ' ')}. {safe(event.sentence)} " +
                    "".join(f"{safe(x)}; " for x in event.evidence if x != said) + f"what to do: {safe(event.remedy)}")
        case f.AdviceGiven():
            return f"advice: {event.knob} {number(event.value)}" + f"; {safe(event.sentence)}" * bool(event.sentence)
        case f.InterventionJudged():
            return f"{safe(event.what)} at step {event.step:,}: {safe(event.word)}; {safe(event.sentence)}"
        case f.BlackBoxKept():
            return f"black box kept: {safe(event.path)}"
        case f.Probed() if event.id and event.by != askers.GUARD:
            return f"looked inside at step {event.step:,}: {loss_words(event.loss, unit)}"
        case e.RunEnded():
            return event.reason
    return ""


def on_the_way(what: str, done: int, of: int) -> str:
    """Return the progress of a command that somebody waits for."""
    share = f" {done / of:.0%}" if of > 1 else ""
    return f"{safe(what)}{share} …"


def headline(event: e.Event, unit: LossUnit = BITS, said: str = "") -> str:
    """Return one line for the cockpit's log; empty for what the screen shows elsewhere, and if nothing changed."""
    match event:
        case e.KnobChanged() if unmoved(event):
            return ""
        case e.RunStarted():
            return "training begins"
        case e.RunResumed():
            return f"resumed from {event.checkpoint}, " + ("exactly" if event.exact else f"but {safe(event.why_not)}")
        case e.RunEnded():
            return f"ended: {event.reason}" + (f": {safe(event.message)}" if event.message else "")
        case e.EpochEnded():
            val = "" if event.val_loss is None else f", validation {loss_words(event.val_loss, unit)}"
            age = f" of {event.step - event.val_step:,} steps ago" if event.val_step < event.step else ""
            return f"epoch {event.epoch} done: train {loss_words(event.loss, unit)}{val}{age if val else ''}"
        case e.Evaluated(part=True):
            return ""  # the plot has it
        case e.Evaluated():
            return f"validation {loss_words(event.loss, unit)}" + (", the best so far" if event.best else "")
        case e.CheckpointSaved(reason=e.INTERVAL):
            return ""  # nobody asked for it; the time line has it
        case e.CheckpointSaved():
            return f"checkpoint saved, {size(event.bytes)}, {event.reason}"
        case e.SavingFailed():
            return (f"SAVING FAILS: {safe(event.reason)}; {size(event.bytes_needed)} needed, "
                    f"{size(max(0, event.bytes_free))} free; training goes on, saving is tried again")
        case e.SavingRecovered():
            return "saving works again"
        case e.StepSkipped():
            return f"{skipped(event)}: {safe(event.sentence)}"
        case e.CommandRefused():
            return f"refused: {safe(event.reason)}"
        case e.EngineSaid():
            return safe(event.text)
        case e.ClientJoined() | e.ClientLeft():
            verb = "joined" if isinstance(event, e.ClientJoined) else "left"
            return f"{safe(event.by)} {verb}, {event.clients} watching"
        case e.SampleDrawn():
            return ""
    return sentence(event, unit, said)


def skipped(event: e.StepSkipped) -> str:
    """Return the word for non-finite steps, by whether they were kept from the weights."""
    return "SKIPPED" if event.kept else "NOT FINITE"


def turned(name: str, old: object, new: object) -> str:
    """A knob's way from one value to another, in words."""
    if name == "clip_auto":
        return f"automatic clip {'on' if new else 'off'}"
    return f"{name} {shown(name, old)} → {shown(name, new)}"


def unmoved(event: e.KnobChanged) -> bool:
    """Whether a knob was set to what it was, as far as a reader can tell."""
    return shown(event.name, event.old) == shown(event.name, event.new)


def shown(name: str, value: object) -> str:
    """Return a knob's value in words."""
    if name == "clip" and not value:
        return "off"
    if isinstance(value, tuple | list):
        return ",".join(number(float(v)) for v in value)
    return number(value, 4) if isinstance(value, float | int) else safe(str(value))
