"""Runs probes of the model on a frozen copy, at intervals and on request."""

import math
import time
from collections.abc import Callable, Iterator

from tuitrain.charlstm.looks import black_box
from tuitrain.charlstm.looks.probe import Probe, interval
from tuitrain.charlstm.machine import Machine
from tuitrain.engine.steering import Steering
from tuitrain.errors import Refused, RunError
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import EpochEnded, Event, WorkAdvanced
from tuitrain.protocol.findings import Probed
from tuitrain.run.folder import Folder


class Probes:
    """Runs one probe at a time, without slices: it takes less than a step or two."""

    def __init__(self, machine: Machine, home: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine, self._home, self._clock = machine, home, clock
        self._probe = Probe(machine.config, machine.corpus.validation, machine.device)
        self.every = interval(machine.config, len(machine.corpus.validation))

    answers: tuple[type[c.Command], ...] = (c.LookInside, c.KeepBlackBox)
    busy = False

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Run a probe if one is due."""
        if self._machine.progress.step % self.every == 0:
            yield self.look("interval")

    def while_paused(self) -> Iterator[Event]:
        """Do nothing: a probe is never left unfinished."""
        return iter(())

    closing_seconds = 0.0

    def finish(self, everything: bool, until: float = math.inf) -> Iterator[Event]:
        """Do nothing: a probe is never left unfinished."""
        return iter(())

    def answer(self, command: c.Command, steering: Steering) -> Iterator[Event]:
        """Run a probe, or write the black box of an onset into the run folder."""
        who = {"id": command.id, "by": command.by}
        if not isinstance(command, c.KeepBlackBox):
            yield from _careful(lambda: self.look("asked for", **who))
            return
        onset, here = command.onset, self._machine.progress.step
        if not 0 <= onset <= here:
            raise Refused(f"step {onset:,} is not in the past; the run is at step {here:,}")
        yield WorkAdvanced(what="black box", done=0, of=1, answers=command.id)
        before = steering.choice.newest_before(onset)
        yield from _careful(lambda: black_box.keep(self._machine, self._home, onset, before, **who))

    def look(self, reason: str, id: str = "", by: str = "") -> Probed:
        """Probe the present weights."""
        began, snapshot = self._clock(), self._machine.freeze()
        return Probed(branch=snapshot.branch, step=snapshot.step, **self._probe.read(snapshot), reason=reason, id=id,
                      by=by, seconds=round(self._clock() - began, 4))


def _careful(look: Callable[[], Event]) -> Iterator[Event]:
    """Turn errors into Refused, as a probe must never end a run."""
    try:
        yield look()
    except (OSError, RunError, RuntimeError, ValueError, IndexError) as error:
        raise Refused(f"{type(error).__name__}: {error}".splitlines()[0]) from error
