"""A drill for a person: opens the cockpit on a run with a hidden fault and compares the person with the guard."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np

from tuitrain import troubles
from tuitrain.charlstm import runtime
from tuitrain.cli import streams
from tuitrain.cli.here import Here
from tuitrain.cli.screen import has_screen
from tuitrain.cli.serve import WorkerHost
from tuitrain.errors import UsageError
from tuitrain.experiments import drill
from tuitrain.experiments.faults import FAULTS, Fault
from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, new_run
from tuitrain.telemetry.units import bpc, duration

EVERY = 10.0
"""Seconds between progress lines of the guard's turn where there is no terminal."""


def sit(name: str, corpus: Path, names: list[str]) -> int:
    """Open the cockpit on a hidden fault (or the named one), then print fault and score; returns the exit code."""
    if not has_screen():
        raise UsageError("a drill for a person needs a terminal; add --no-ui to measure the analyst")
    rng = np.random.default_rng()
    seed = int(rng.integers(1000, 10**6))
    fault = FAULTS[name or str(rng.choice([n for n in names if not FAULTS[n].from_start]))]
    at = 1 if fault.from_start else drill.HEALTHY_STEPS + int(rng.integers(0, 3000))
    folder = new_run(Path("runs"), "drill")
    code = Here(folder, lambda: _host(fault, at, corpus, seed, folder), mouse=True).show()
    print(score(fault, at, folder), file=sys.stderr)
    if reached(folder) < at:
        return code  # the fault did not occur: there is nothing to compare
    turn = Turn(streams.steering(sys.stderr))
    before = signal.signal(signal.SIGINT, lambda *_: turn.skip())
    try:
        guards = runtime.aside(lambda: drill.run(fault, corpus, seed, guard="rollback", at=at, report=turn.report,
                                                 **drill.SITTING))
    except Skipped:
        return code
    finally:
        signal.signal(signal.SIGINT, before)
        turn.close()
    named = troubles.cause(guards.cause).words
    found = f"named {named} after {guards.delay} steps" if named else "found nothing"
    ended = "" if guards.val_after is None else f", validation ends at {bpc(guards.val_after):.3f} bpc"
    print(f"the guard {found}, {guards.rollbacks} rollbacks{ended}", file=sys.stderr)
    return code


class Skipped(Exception):
    """The person skipped the guard's turn."""


class Turn:
    """Shows the progress of the guard's turn: one line that is updated on a terminal, else a line per `EVERY` s."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock, self._began = out, clock, clock()
        self._live = out.isatty()
        self._next = self._began
        self._skipped = False

    def report(self, step: int, last: int) -> None:
        """Show that the guard's run is at `step` of `last`. Raises Skipped after `skip`."""
        if self._skipped:
            raise Skipped
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (1.0 if self._live else EVERY)
        left = f", {duration((now - self._began) / step * (last - step))} left" if step > 0 and last > step else ""
        words = f"the guard's turn: step {step:,} of {last:,}{left}; ctrl+c skips it"
        self._out.write(f"\r\x1b[2K{words}" if self._live else f"{words}\n")
        self._out.flush()

    def skip(self) -> None:
        """End the guard's turn at its next event."""
        self._skipped = True

    def close(self) -> None:
        """Leave the terminal on a clean line."""
        if self._live:
            self._out.write("\r\x1b[2K")
            self._out.flush()


def reached(folder: RunDirectory) -> int:
    """Return the last step with a record in the journal."""
    return max((event.step for event, _ in journal.read(folder.journal)
                if isinstance(event, e.Evaluated | e.NoteAdded | e.RunEnded)), default=0)


def score(fault: Fault, at: int, folder: RunDirectory) -> str:
    """Describe the fault and what the person did, from the journal."""
    events = [event for event, _ in journal.read(folder.journal)]
    notes = [x for x in events if isinstance(x, e.NoteAdded)]
    causes = [troubles.cause(cause) for cause in fault.right]
    named = [x for x in notes if troubles.plain(fault.name) in troubles.plain(x.text)
             or any(cause.is_named_in(x.text) for cause in causes)]
    acts = [x for x in events if isinstance(x, e.RolledBack | e.KnobChanged) and x.by == askers.PERSON
            and (x.from_step if isinstance(x, e.RolledBack) else x.step) >= at]
    losses = [x.loss for x in events if isinstance(x, e.Evaluated) and not x.part]
    if reached(folder) < at:
        return f"you left before the fault: {fault.words}, at step {at:,}"
    right = " or ".join(cause.words for cause in causes)
    rows = [f"the fault was {fault.name}: {fault.words}, at step {at:,}; the right answer is {right}"]
    if named:
        rows.append(f"you named it {named[0].step - at:,} steps after it began")
    elif notes:
        rows.append("you named something else")
    else:
        rows.append("you did not name it (m writes a note)")
    if acts:
        first = acts[0].from_step if isinstance(acts[0], e.RolledBack) else acts[0].step
        rows.append(f"you acted {first - at:,} steps after it began")
    if losses:
        rows.append(f"validation ended at {bpc(losses[-1]):.3f} bpc, the best was {bpc(min(losses)):.3f}")
    return "\n".join(rows)


def _host(fault: Fault, at: int, corpus: Path, seed: int, folder: RunDirectory) -> WorkerHost:
    def ready() -> WorkerHost:
        worker = drill.worker_of(fault, corpus, seed, folder, "warn", **drill.SITTING)
        worker.trainer.introduce(drill=True)
        worker.without_analyst()  # the person is to find the cause without verdicts
        fault.inject(worker.trainer, at, np.random.default_rng((seed, 77)))
        return WorkerHost(worker, folder, folder.lock())

    runtime.before_torch()
    return runtime.aside(ready)



