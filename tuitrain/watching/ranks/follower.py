"""Every rank of a watched loop but 0: does what is announced. Has no run folder, no journal and no commands."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tuitrain.engine.ranks.group import Group, Lost, Order
from tuitrain.engine.ranks.state import checksum, unpacked
from tuitrain.errors import RunError
from tuitrain.intervals import Every
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.protocol.events import Event
from tuitrain.run.directory import RunDirectory
from tuitrain.watching.asides import undisturbed
from tuitrain.watching.gradients import Grouped
from tuitrain.watching.offers import Offers
from tuitrain.watching.ranks import own
from tuitrain.watching.ranks.alone import Alone
from tuitrain.watching.ranks.leader import FAILED, STOPPED
from tuitrain.watching.recorder import Recorder
from tuitrain.watching.subject import Subject


class Member(Alone):
    """A rank's own side of the group."""

    def __init__(self, subject: Subject, group: Group) -> None:
        self._subject, self._group = subject, group
        self.size = group.place.size
        self.places = tuple(group.introduce(str(subject.device)))

    def part(self) -> None:
        """As of `Alone`: rank 0 finds this process gone."""
        self._group.close()

    def end(self, *, stopped: bool) -> None:
        """As of `Alone`, for this process alone."""
        self.part()

    def choose(self, first: Mapping[str, Any], parts: Mapping[int, Mapping[str, bytes]] | None) -> Mapping[str, Any]:
        """As of `Alone`."""
        return own.chosen(self._group.place.rank, first, parts)


class FollowedSubject(Subject):
    """A subject whose learning rates are multiplied by the factor that rank 0 announces."""

    announced = 1.0

    @property
    def factor(self) -> float:
        """Factor on the script's own learning rates at the next step."""
        return self.announced


class _Rates(Recorder):
    """Measures nothing: the gradients are those of rank 0."""

    def before(self, optimizer: Optimizer, args: Any = (), kwargs: Any = None) -> None:
        """Run before an optimizer step: set the learning rates."""
        self.inside = True
        self.rates.multiply(optimizer)


class Follower:
    """What `Loop` is to rank 0: it listens between two steps."""

    def __init__(self, subject: FollowedSubject, grouped: Grouped, group: Group) -> None:
        self.subject = subject
        self.recorder: Recorder = _Rates(subject, grouped, subject.device)
        self.recorder.every = lambda: 1 << 62
        self.offers = Offers(LossUnit("loss", "", 1.0), 0, "")
        self.ended = self.stopped = False
        self._group = group
        self._asides: dict[Order, Callable[[], Any]] = {}

    def begin(self) -> None:
        """Do all that rank 0 does before the first step. Raises RunError if it cannot open the run."""
        if self._listen() == FAILED:
            raise RunError("process 0 could not open the run; it says why")

    def evaluates(self, call: Callable[[], Any], every: Every | None) -> None:
        """Call this function along with rank 0."""
        self._asides[Order.EVALUATE] = call

    def samples(self, call: Callable[[], Any], every: Every | None) -> None:
        """Call this function along with rank 0."""
        self._asides[Order.SAMPLE] = call

    def between(self, epoch: float | None) -> Iterator[Event]:
        """Do what rank 0 announces until the next step. Raises Lost if it is gone."""
        self._until_told(self._listen())
        return iter(())

    def finish(self, reason: str, code: int, *, message: str = "", traceback: str = "", save: bool = True, id: str = "",
               by: str = "") -> Iterator[Event]:
        """Take part in the end of the run, which another process may have reached before."""
        if not self.ended:
            try:
                while not self.ended:
                    self._until_told(self._listen())
            except Lost:
                self.ended = True
        return iter(())

    def measured(self, result: Any, reason: str, seconds: float, id: str = "", by: str = "") -> Iterator[Event]:
        """Do nothing: rank 0 reports."""
        return iter(())

    def adopt_clip(self, clip: float) -> Iterator[Event]:
        """Set the clip knob to a new threshold that the script passed, as rank 0 does at the same step."""
        self.subject.knobs = replace(self.subject.knobs, clip=clip)
        return iter(())

    def abandon(self) -> None:
        """Do nothing: rank 0 saves."""

    def _until_told(self, end: float | None) -> None:
        if end is not None:
            self.ended, self.stopped = True, end == STOPPED

    def _listen(self) -> float | None:
        """Carry out announcements until the next step is announced, or an end, which is returned."""
        subject, group = self.subject, self._group
        while True:
            order, numbers = group.next_order()
            match order:
                case Order.LEARN:
                    subject.announced = numbers[0]
                    subject.knobs = replace(subject.knobs, clip=numbers[1])
                    return None
                case Order.END:
                    return numbers[0]
                case Order.FREEZE:
                    own.gather(subject, group)
                    group.gather(checksum(subject.model.parameters()))
                case Order.THAW:
                    self._restore()
                case Order.AVERAGE:
                    self._average(int(numbers[0]))
                case Order.EVALUATE | Order.SAMPLE if (call := self._asides.get(order)) is not None:
                    with undisturbed(subject.model):
                        call()

    def _restore(self) -> None:
        snapshot = unpacked(self._group.receive())
        try:
            self.subject.thaw(snapshot)
        except Exception as error:
            raise RunError(f"process {self._group.place.rank} could not restore step {snapshot.step:,} and may have "
                           "other weights than the others now; end the script and resume it from its checkpoint "
                           f"({type(error).__name__}: {error})") from error

    def _average(self, count: int) -> None:
        losses = self.recorder.numbers.losses()
        own.average((losses + [math.nan] * count)[:count], self._group)


class Unheard:
    """What `Outlet` is to rank 0: takes events and forgets them."""

    failure: Exception | None = None

    def put(self, event: Event) -> None:
        """Do nothing."""

    def finish(self, timeout: float) -> bool:
        """Return True: nothing is left to do."""
        return True


class Nowhere:
    """What `Host` is to rank 0: has no folder."""

    run = RunDirectory(Path())

    def end(self) -> None:
        """Do nothing."""
