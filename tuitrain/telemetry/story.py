"""The story of a run: log entries, interventions, restore points and samples. Bounded; knows no numbers per step."""

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry import wire
from tuitrain.telemetry.sentences import headline, sentence, turned

ENTRIES, MARKS, TEXTS, POINTS, UNDOABLE = 300, 200, 24, 400, 50
WORDS, LETTERS, ACTED = 4000, 100_000, 200
"""Maximum characters of an entry, of a sample and of what can be undone,
so that neither host nor journal can fill the memory."""
INTERVENTIONS = (e.KnobChanged, e.RolledBack, e.Undone, e.LandingStarted, e.NoteAdded, e.Paused, e.StepSkipped,
                 e.RaceStarted, e.RaceEnded, f.WarningRaised, f.AlarmRaised)
ACTS = (e.KnobChanged, e.RolledBack, e.LandingStarted, e.Undone)
ALARMING = (e.StepSkipped, e.SavingFailed, f.AlarmRaised)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    time: float
    step: int
    by: str
    words: str
    alarming: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the step axis: an intervention, something that broke, or a `warning`."""

    step: int
    branch: int
    words: str
    alarming: bool
    warning: bool = False
    act: str = ""
    """The event's name if it is an undo or what can be undone in general, else empty."""
    judged: str = field(default="", metadata=wire.OPTIONAL)
    """Whether it helped, if a control was trained without it."""
    knob: str = field(default="", metadata=wire.OPTIONAL)
    """The knob that was turned, if one was."""


@dataclass(frozen=True, slots=True)
class Point:
    """A restore point with the losses of that time in nats; `val` is None before the first evaluation."""

    name: str
    branch: int
    step: int
    on_disk: bool
    reason: str
    time: float
    train: float
    val: float | None
    lr: float
    clip: float
    bytes: int
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Undoable:
    """An intervention that can be undone: the event's name, what was done, and the point taken just before it."""

    act: str
    words: str
    point: str


@dataclass(slots=True)
class SampleText:
    """A sample, complete or still being drawn; `bits` is the model's surprise at each character."""

    branch: int
    step: int
    temperature: float
    prompt: str
    text: str
    bits: list[float]
    whole: bool = False


@dataclass(slots=True)
class Story:
    """Folded by RunState, which passes the numbers of the moment along."""

    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=ENTRIES))
    marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=MARKS))
    texts: deque[SampleText] = field(default_factory=lambda: deque(maxlen=TEXTS))
    points: dict[str, Point] = field(default_factory=dict, metadata=wire.STAYS)
    undoable: deque[Undoable] = field(default_factory=lambda: deque(maxlen=UNDOABLE), metadata=wire.OPTIONAL)
    """What can be undone, the newest last; a new process knows nothing of what was done in an earlier one."""
    taken: str = field(default="", metadata=wire.OPTIONAL)
    """The name of the newest point in memory."""
    told: int = 0
    """Number of entries ever added, by which a log pane finds the new ones."""

    def fold(self, event: e.Event, when: float, now: dict[str, Any]) -> None:
        """Update the story with an event; `now` holds step, branch, train, val, lr, clip, unit and the alarm `said`."""
        match event:
            case e.SamplePiece():
                self._piece(event)
            case e.SampleDrawn():
                self._drawn(event)
            case e.SnapshotTaken():
                self._point(event.point, event, False, when, now)
                self.taken = event.point
            case e.CheckpointSaved():
                name = PurePath(event.path).stem
                before = self.points.get(name)
                again = before is not None and before.on_disk and before.reason == event.reason and not event.id
                self._point(name, event, True, when, now)
                if again:  # the end of a run saves its last step even if it was saved before: logged once
                    return
            case f.InterventionJudged():
                self._judged(event)
            case e.RunStarted():
                self.undoable.clear()
            case e.RunResumed():  # another process: what was in memory is gone
                self.undoable.clear()
                self.points = {name: point for name, point in self.points.items() if point.on_disk}
            case e.Undone() if self.undoable:
                self.undoable.pop()
            case e.PromptChanged() | e.RolledBack() | e.LandingStarted():
                self._acted(event, now)
            case e.KnobChanged() if event.id:
                if event.since is not None and self.undoable:
                    words = turned(event.name, event.since, event.new)
                    self.undoable[-1] = replace(self.undoable[-1], words=words)
                else:
                    self._acted(event, now)
            case e.SnapshotDropped():
                self.points.pop(event.point, None)
            case e.CheckpointPruned():
                self.points.pop(PurePath(event.path).stem, None)
        words = headline(event, now["unit"], now["said"])
        words = words if len(words) <= WORDS else words[:WORDS] + " …"
        if not words:
            return
        step, alarming = e.step_of(event, now["step"]), isinstance(event, ALARMING)
        alarming = alarming or (isinstance(event, e.RunEnded) and bool(event.exit_code == 1))
        alarming = alarming or (isinstance(event, f.VerdictReached) and event.alarming)
        self.entries.append(Entry(when, step, e.by_of(event) or "engine", words, alarming))
        self.told += 1
        if isinstance(event, INTERVENTIONS):
            # A knob that changed along with another, or automatically, answers no command and cannot be undone.
            acted = isinstance(event, ACTS) and not (isinstance(event, e.KnobChanged) and not event.id)
            self.marks.append(Mark(step, e.branch_of(event, now["branch"]), words, alarming,
                                   isinstance(event, f.WarningRaised), type(event).__name__ if acted else "",
                                   knob=event.name if isinstance(event, e.KnobChanged) else ""))

    def remark(self, words: str, when: float, step: int) -> None:
        """Add an entry that does not come from an event."""
        self.entries.append(Entry(when, step, "tuitrain", words, False))
        self.told += 1

    @property
    def last_saved(self) -> Point | None:
        """The checkpoint reported last; not by time, as a clock can be set back."""
        return next((point for point in reversed(self.points.values()) if point.on_disk), None)

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**wire.fields_to_wire(self), "points": wire.to_wire(list(self.points.values()))}

    @classmethod
    def from_wire(cls, told: dict[str, Any]) -> "Story":
        """Read what `to_wire` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        story = wire.record_from_wire(cls, told)
        story.points = {point.name: point for point in wire.from_wire(list[Point], told["points"][-POINTS:])}
        return story

    def _acted(self, event: e.Event, now: dict[str, Any]) -> None:
        self.undoable.append(Undoable(type(event).__name__, sentence(event, now["unit"])[:ACTED], self.taken))

    def _judged(self, event: f.InterventionJudged) -> None:
        """Add to the marks of an intervention what it turned out to be."""
        for i, mark in enumerate(self.marks):
            if (mark.branch, mark.step) == (event.branch, event.step) and mark.act:
                words = mark.words.removesuffix(f" ({mark.judged})") if mark.judged else mark.words
                self.marks[i] = replace(mark, words=f"{words} ({event.word})", judged=event.word)

    def _point(self, name: str, event: e.SnapshotTaken | e.CheckpointSaved, on_disk: bool, when: float,
               now: dict[str, Any]) -> None:
        self.points[name] = Point(name, event.branch, event.step, on_disk, event.reason, when, now["train"], now["val"],
                                  now["lr"], now["clip"], event.bytes, event.healthy)
        while len(self.points) > POINTS:
            self.points.pop(next(iter(self.points)))

    def _piece(self, event: e.SamplePiece) -> None:
        if event.first or not self.texts or self.texts[-1].whole:
            self.texts.append(SampleText(event.branch, event.step, event.temperature, event.prompt, "", []))
        room = LETTERS - len(self.texts[-1].text)
        self.texts[-1].text += event.text[:room]
        self.texts[-1].bits.extend(event.bits[:room])

    def _drawn(self, event: e.SampleDrawn) -> None:
        last = self.texts[-1] if self.texts else None
        if last is None or last.whole or (last.step, last.temperature) != (event.step, event.temperature):
            # From the journal, which has no pieces, so the surprise is unknown.
            self.texts.append(SampleText(event.branch, event.step, event.temperature, event.prompt,
                                         event.text[:LETTERS], [], True))
        else:
            last.text, last.whole = event.text[:LETTERS], True
