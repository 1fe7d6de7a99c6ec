"""Carries out the commands common to all runs, between two steps: knobs, rollback, undo, landing, saving, pause, stop.

Other commands are passed on to the run itself.
"""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from tuitrain.engine.bounds import MAX_NAME, MAX_REASON, check_bounds
from tuitrain.engine.saves import Saves
from tuitrain.engine.steered import Reports, Steered
from tuitrain.engine.steering import Steering
from tuitrain.errors import Refused
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import (
    CommandRefused,
    Continued,
    Dismissed,
    Event,
    GuardModeChanged,
    NoteAdded,
    Paused,
    WorkAdvanced,
)
from tuitrain.specs import GUARD_MODES

MAX_NOTE = 2000
"""Maximum characters of a note."""


def no_events() -> Iterator[Event]:
    """Return an iterator without events."""
    return iter(())


class Orders:
    """Takes commands in `inbox` from any thread and carries them out in `obey`, in the training thread.

    `others` carries out what is not common to all runs; `refuse` returns why a command is not offered (empty: it is).
    """

    def __init__(self, steered: Steered, steering: Steering, saves: Saves, reporter: Reports, guard_mode: str, *,
                 others: Callable[[c.Command], Iterator[Event]], refuse: Callable[[c.Command], str] = lambda _: "",
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.inbox: queue.SimpleQueue[c.Command] = queue.SimpleQueue()
        self.guard_mode, self.paused = guard_mode, False
        self.stop: c.Stop | None = None
        """The command that ends the run, once received."""
        self.on_continue: Callable[[float], None] = lambda seconds: None
        """Called after a pause, with its length in seconds."""
        self.on_move: Callable[[], Iterator[Event]] = no_events
        """Called after a rollback or undo moved the run to another step; its events are emitted."""
        self._steered, self._steering, self._saves, self._reporter = steered, steering, saves, reporter
        self._others, self._refuse, self._clock = others, refuse, clock
        self._paused_since = clock()

    def obey(self) -> Iterator[Event]:
        """Carry out all waiting commands and yield the resulting events."""
        while True:
            try:
                command = self.inbox.get_nowait()
            except queue.Empty:
                return
            yield from self._answer(command)

    def wait(self, timeout: float) -> Iterator[Event]:
        """Carry out the next command, waiting up to `timeout` seconds for it."""
        try:
            command = self.inbox.get(timeout=timeout)
        except queue.Empty:
            return
        yield from self._answer(command)

    def _answer(self, command: c.Command) -> Iterator[Event]:
        try:
            check_bounds(command)
            if why := self._refuse(command):
                raise Refused(why)
            yield from self._do(command)
        except Refused as refusal:
            # A field that was refused for its length is not repeated in full.
            yield CommandRefused(id=command.id[:MAX_NAME], by=command.by[:MAX_NAME], reason=str(refusal)[:MAX_REASON])

    def _do(self, command: c.Command) -> Iterator[Event]:
        progress = self._steered.progress
        who = {"id": command.id, "by": command.by}
        answer: dict[str, Any] = {"branch": progress.branch, "step": progress.step, **who}
        match command:
            case c.SetKnob():
                yield from self._steering.set_knob(command)
            case c.ScaleKnob():
                yield from self._steering.scale_knob(command)
            case c.Land():
                yield from self._steering.land(command)
            case c.Rollback() | c.Undo():
                yield from self._move(command)
            case c.TakeSnapshot():
                yield from self._steering.snapshot("asked for", pinned=True, **who)
            case c.SaveCheckpoint():
                yield WorkAdvanced(what="checkpoint", done=0, of=1, answers=command.id)
                self._saves.submit(self._steered.freeze(), "asked for", pinned=True, **who)
            case c.PinSnapshot():
                yield from self._steering.pin(command)
            case c.SetGuardMode():
                if command.mode not in GUARD_MODES:
                    raise Refused(f"guard {command.mode}: choose one of {', '.join(GUARD_MODES)}")
                old, self.guard_mode = self.guard_mode, command.mode
                yield GuardModeChanged(old=old, new=command.mode, **answer)
            case c.AddNote():
                if not 1 <= len(command.text.strip()) <= MAX_NOTE:
                    raise Refused(f"a note has 1 to {MAX_NOTE} characters")
                yield NoteAdded(text=command.text, **answer)
            case c.Dismiss():
                yield Dismissed(**answer)
            case c.Pause():
                yield from self.pause(answer)
            case c.Continue():
                yield from self.go_on(answer)
            case c.Stop():
                self.stop = command
            case _:
                yield from self._others(command)

    def _move(self, command: c.Rollback | c.Undo) -> Iterator[Event]:
        before = (self._steered.progress.branch, self._steered.progress.step)
        if isinstance(command, c.Rollback):
            yield from self._steering.rollback(command)
        else:
            yield from self._steering.undo(command)
        if (self._steered.progress.branch, self._steered.progress.step) != before:
            yield from self.on_move()

    def pause(self, answer: dict[str, Any]) -> Iterator[Event]:
        """Pause; `answer` has branch, step, id and by of the event. Raises Refused."""
        if self.paused:
            raise Refused("training is paused already")
        yield from self._reporter.flush()
        self.paused, self._paused_since = True, self._clock()
        yield Paused(**answer)

    def go_on(self, answer: dict[str, Any]) -> Iterator[Event]:
        """Go on after a pause; `answer` has branch, step, id and by of the event. Raises Refused."""
        if not self.paused:
            raise Refused("training is not paused")
        self.paused = False
        self.on_continue(self._clock() - self._paused_since)
        yield Continued(**answer)
