"""What happened, in words a person reads: one sentence per event, the same in the log, headless and in `send`."""

from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.units import bpc, number, safe, size


def sentence(event: e.Event) -> str:
    """An intervention in words; empty for events that are none."""
    match event:
        case e.KnobChanged(name="clip_auto"):
            return f"automatic clip {'on' if event.new else 'off'}"
        case e.KnobChanged():
            return f"{event.name} {_value(event.old)} → {_value(event.new)}"
        case e.PromptChanged():
            return f"prompt {safe(event.new)!r}"
        case e.RolledBack():
            asked = "" if event.asked in (None, event.to_step) else f", the last point before {event.asked:,}"
            return (f"back from step {event.from_step:,} to {event.to_step:,}{asked}: branch {event.branch}, "
                    f"lr {number(float(event.knobs['lr']))}, clip {_clip(event.knobs['clip'])}")
        case e.Undone():
            return f"undone: {safe(event.what)}; now at step {event.step:,} on branch {event.branch}"
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
            return f"validation {event.bpc:.4f} bpc at step {event.step:,}"
        case e.SampleDrawn():
            return f"sample at temperature {number(event.temperature)}:\n{safe(event.text, newlines=True)}"
        case f.WarningRaised():
            return f"warning: {safe(event.sentence)}"
        case f.AlarmRaised():
            return f"ALARM: {safe(event.sentence)}"
        case f.VerdictReached():
            return (f"why: {event.cause.replace('_', ' ')}. {safe(event.sentence)} " +
                    "".join(f"{safe(x)}; " for x in event.evidence) + f"what to do: {safe(event.remedy)}")
        case f.AdviceGiven():
            return f"advice: {event.knob} {number(event.value)}; {safe(event.sentence)}"
        case f.BlackBoxKept():
            return f"black box kept: {safe(event.path)}"
        case f.Probed() if event.id and event.by != "guard":
            return f"looked inside at step {event.step:,}: {bpc(event.loss):.3f} bpc"
        case e.RunEnded():
            return event.reason
    return ""


def headline(event: e.Event) -> str:
    """One line for the log of the cockpit; empty for what is told elsewhere on the screen, and where nothing moved."""
    match event:
        case e.KnobChanged() if sentence(event) == f"{event.name} {_value(event.new)} → {_value(event.new)}":
            return ""
        case e.RunStarted():
            return "training begins"
        case e.RunResumed():
            return f"resumed from {event.checkpoint}, " + ("exactly" if event.exact else f"but {safe(event.why_not)}")
        case e.RunEnded():
            return f"ended: {event.reason}" + (f": {safe(event.message)}" if event.message else "")
        case e.EpochEnded():
            val = "" if event.val_loss is None else f", validation {bpc(event.val_loss):.3f} bpc"
            age = f" of {event.step - event.val_step:,} steps ago" if event.val_step < event.step else ""
            return f"epoch {event.epoch} done: train {bpc(event.loss):.3f} bpc{val}{age if val else ''}"
        case e.Evaluated(part=True):
            return ""  # the plot has it
        case e.Evaluated():
            return f"validation {event.bpc:.3f} bpc" + (", the best so far" if event.best else "")
        case e.CheckpointSaved():
            return f"checkpoint saved, {size(event.bytes)}, {event.reason}"
        case e.SavingFailed():
            return (f"SAVING FAILS: {safe(event.reason)}; {size(event.bytes_needed)} needed, "
                    f"{size(max(0, event.bytes_free))} free; training goes on, saving is tried again")
        case e.SavingRecovered():
            return "saving works again"
        case e.StepSkipped():
            return f"SKIPPED: {safe(event.sentence)}"
        case e.CommandRefused():
            return f"refused: {safe(event.reason)}"
        case e.EngineSaid():
            return safe(event.text)
        case e.ClientJoined() | e.ClientLeft():
            verb = "joined" if isinstance(event, e.ClientJoined) else "left"
            return f"{safe(event.by)} {verb}, {event.clients} watching"
        case e.SampleDrawn():
            return ""
    return sentence(event)


def _clip(value: object) -> str:
    return _value(value) if value else "off"


def _value(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(number(float(v)) for v in value)
    return number(value, 4) if isinstance(value, float | int) else safe(str(value))
