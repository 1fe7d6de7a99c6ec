"""Prints a run's events as lines, for --no-ui. Knows nothing of engines or sockets.

Data (lines of the run, or journal lines with --json) goes to standard output, messages to standard error.
"""

import contextlib
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from typing import TextIO

from tuitrain.protocol import codec
from tuitrain.protocol import events as e
from tuitrain.run.journal import STREAM_ONLY
from tuitrain.specs import cell
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import sentence, skipped, unmoved
from tuitrain.telemetry.units import duration, interval, loss_text, loss_words, many, number, percent, rate, safe, size

COLUMNS = ("step", "epoch", "train", "val", "norm", "clipped", "lr", "chars", "left")
WIDTHS = (9, 7, 6, 6, 7, 7, 8, 9, 8)


class PlainOutput:
    """Shows a run on a stream: a table line every `period` seconds, everything else as it happens.

    On a terminal the newest numbers stand in a live line at the bottom; elsewhere there are no escape codes.
    """

    def __init__(self, out: TextIO, run: str, *, json: bool = False, period: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._run, self._json, self._period, self._clock = out, run, json, period, clock
        self._live = out.isatty() and not json
        self.state = RunState()
        self._next = self._heard = clock()
        self._lines = 0
        self._epoch_shown = 0.0
        self._bar = self._again = False
        self._when: float | None = None
        """Unix time of the event being printed; None: now."""
        self.ended: e.RunEnded | None = None

    def show(self, event: e.Event, when: float | None = None) -> None:
        """Print an event of Unix time `when`, if it calls for a line."""
        self._when = when
        told = self.state.story.told
        self.state.fold(event, when)
        self._again = isinstance(event, e.CheckpointSaved) and self.state.story.told == told
        if isinstance(event, e.RunEnded):
            self.ended = event
        if self._json:
            if not isinstance(event, STREAM_ONLY):
                self._print(codec.encode(event, when))
            return
        if isinstance(event, e.StepsDone):
            self._progress()
        else:
            self._happened(event)

    def header(self) -> None:
        """Print what is being trained, and on what."""
        s, c, f = self.state, self.state.config, self.state.facts
        if self._json or not c:
            return
        if f.description:
            self._described(f.description)
            return
        embedding = "one-hot" if c["embedding"] == "onehot" else f"embedding {c['embedding']}"
        kind = "carried streams" if c["loss"] == "all" else f"windows, stride {c['stride']}, last character"
        end = _end(s)
        clip = "off" if not s.knobs["clip"] else number(s.knobs["clip"])
        if c["clip_kind"] == "element":
            clip = f"each element clamped to ±{clip} (not a norm clip: the direction changes)"
        self._print(
            f"tuitrain  {safe(self._run)}\n"
            f"  text    {safe(f.corpus)}: {f.train:,} characters to train on, {f.validation:,} to "
            f"validate on\n"
            f"  model   {c['layers']}x{c['hidden']} {safe(cell(c).title)}, {embedding}, "
            f"dropout {number(c['dropout'])}, {f.parameters:,} parameters\n"
            f"  batch   {c['batch_size']}x{c['bptt']} {kind}, {f.steps_per_epoch:,} steps an epoch, {end}\n"
            f"  steps   {c['optimizer']}, lr {number(s.knobs['lr'])} {c['lr_schedule']}, warm-up {f.warmup}, "
            f"clip {clip}\n"
            f"  device  {s.device}, {s.workforce}, {', '.join(s.computes[1:])}\n"
            f"  every   {interval(c['evaluate_every'])} evaluated, {interval(c['sample_every'])} sampled, "
            f"{interval(c['snapshot_every'])} kept in memory, {interval(c['checkpoint_every'])} saved")
        if f.levels:
            self._print("  bpc     " + ", ".join(f"{safe(name)} {bits:.2f}" for name, bits in f.levels.items()))
        for rank, where in enumerate(f.ranks):
            self._print(f"  rank {rank}  {safe(where)}")
        for remark in f.remarks:
            self._print(f"  note    {safe(remark)}")

    def _described(self, described: Iterable[tuple[str, str]]) -> None:
        """Print the header of a run that describes itself."""
        s = self.state
        end = _end(s)
        rows = [*described, ("lr", f"{number(s.knobs['lr'])}, {end}"),
                ("device", f"{s.device}, {many(s.threads, 'thread')}, {s.precision}")]
        self._print("\n".join([f"tuitrain  {safe(self._run)}",
                               *(f"  {safe(name):<8}{safe(words)}" for name, words in rows)]))

    def numbers(self) -> None:
        """Print the heads of the columns and the present numbers."""
        self._print(" ".join(name.rjust(w) for name, w in zip(self._columns(), WIDTHS, strict=True)))
        self._print(self._row())

    def close(self) -> None:
        """Clear the live line and flush the output."""
        self._clear_bar()
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()

    def _progress(self) -> None:
        now = self._clock()
        since, self._heard = now - self._heard, now
        # Where a step takes seconds, the line comes with the step that is nearest to its time.
        if now + min(since, self._period) / 2 >= self._next:
            self._next = now + self._period
            if self._lines % 20 == 0:
                self._print(" ".join(name.rjust(w) for name, w in zip(self._columns(), WIDTHS, strict=True)))
            self._lines += 1
            self._print(self._row())
        elif self._live:
            self._clear_bar()
            self._out.write(self._row() + "\r")
            self._out.flush()
            self._bar = True

    def _columns(self) -> tuple[str, ...]:
        """Return the column heads: a run without characters counts steps."""
        return tuple("steps" if name == "chars" and not self.state.config.get("bptt") else name for name in COLUMNS)

    def _row(self) -> str:
        s, unit = self.state, self.state.unit
        val = loss_text(s.val_loss, unit) if s.val_loss is not None else "-"
        cells = (f"{s.step:,}", f"{s.epoch:.2f}", loss_text(s.train_loss, unit), val, number(s.norm),
                 percent(s.share_clipped), number(s.lr_in_force), rate(s.read_per_second),
                 duration(s.seconds_left))
        return " ".join(cell.rjust(w) for cell, w in zip(cells, WIDTHS, strict=True))

    def _happened(self, event: e.Event) -> None:
        s = self.state
        match event:
            case e.RunStarted():
                self.header()
            case e.RunResumed():
                self.header()
                exact = "exactly" if event.exact else f"not bit-identical: {event.why_not}"
                self._say(event.step, f"resumed from {event.checkpoint} on branch {event.branch}, {exact}")
            case e.Evaluated(part=True):
                pass  # too often for a line of its own
            case e.Evaluated():
                best = ", the best so far" if event.best else ""
                self._say(event.step, f"validation {loss_words(event.loss, s.unit, 4)}{best}")
            case e.EpochEnded():
                self._epoch(event)
            case e.SampleDrawn():
                self._sample(event)
            case e.CheckpointSaved():
                if event.reason != e.INTERVAL and not self._again:
                    self._say(event.step, f"checkpoint {event.path}, {size(event.bytes)}, {event.reason}")
            case e.SavingFailed():
                need, free = size(event.bytes_needed), size(max(0, event.bytes_free))
                self._say(event.step, f"SAVING FAILS: {safe(event.reason)}; {need} needed, {free} free. "
                                      "Training goes on; saving is tried again")
            case e.SavingRecovered():
                self._say(event.step, "saving works again")
            case e.StepSkipped():
                self._say(event.step, f"{skipped(event)}: {safe(event.sentence)}")
            case e.RunEnded():
                self._end(event)
            case e.EngineSaid():
                self._say(self.state.step, safe(event.text))
            case e.CommandRefused():
                self._say(self.state.step, f"{safe(event.by)}: refused: {safe(event.reason)}")
            case e.KnobChanged() if unmoved(event):
                pass
            case _:
                words = sentence(event, s.unit, s.health.alarm_said)
                if words:
                    step = e.step_of(event, self.state.step)
                    self._say(step, f"{safe(e.by_of(event) or 'engine')}: {words}")

    def _epoch(self, event: e.EpochEnded) -> None:
        # A tiny text has an epoch every few steps; one line per period is enough then.
        if self._clock() - self._epoch_shown < 1.0 and self._epoch_shown:
            return
        self._epoch_shown = self._clock()
        val = "-" if event.val_loss is None else loss_text(event.val_loss, self.state.unit, 4)
        at = "" if event.val_step in (0, event.step) else f" (of step {event.val_step:,})"
        self._say(event.step, f"epoch {event.epoch} in {duration(event.seconds)}: train "
                              f"{loss_text(event.loss, self.state.unit, 4)}, validation {val} "
                              f"{self.state.unit.short}".rstrip() + at)

    def _sample(self, event: e.SampleDrawn) -> None:
        at = f" at temperature {number(event.temperature)}" if event.temperature else ""
        self._say(event.step, f"sample{at}")
        text = (safe(event.prompt[-60:], newlines=False) + "│" if at else "") + safe(event.text, newlines=True)
        for line in text.splitlines():
            self._print(textwrap.indent("\n".join(textwrap.wrap(line, 100)) or "", "    "))

    def _end(self, event: e.RunEnded) -> None:
        self._say(event.step, f"{event.reason}" + (f": {safe(event.message)}" if event.message else ""))
        if event.reason != e.CRASHED:
            script = self.state.capabilities.resumes
            self._print("  go on with: " + (safe(script) or f"tuitrain resume {safe(self._run)}"))

    def _say(self, step: int, words: str) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(self._when))
        self._print(f"{at}  step {step:,}  {words}")

    def _print(self, text: str) -> None:
        self._clear_bar()
        print(text, file=self._out, flush=True)

    def _clear_bar(self) -> None:
        if self._bar:
            self._out.write("\r\x1b[2K")
            self._bar = False


def _end(state: RunState) -> str:
    if state.facts.seconds:
        return f"{duration(state.facts.seconds)} to go, about {number(float(state.knobs['steps']))} steps"
    return f"to step {state.last_step:,}" if state.last_step else "open-ended"


def quiet_stdout() -> None:
    """Close standard output after its reader has gone away, so that nothing more is written."""
    with contextlib.suppress(OSError):
        sys.stdout.close()
