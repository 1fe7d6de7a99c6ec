"""Rank 0 of a watched loop: announces to the others what was decided between two steps."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from tuitrain.engine.ranks.group import Group, Lost, Order
from tuitrain.engine.ranks.state import checksum, drifted, packed
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol.events import EngineSaid, Event
from tuitrain.watching.ranks import own
from tuitrain.watching.ranks.alone import Alone
from tuitrain.watching.subject import Subject

FAILED, STOPPED, OFF = -1.0, 1.0, 0.0
"""What is said of an end: the run could not be opened, all loops stop, only the watching ends."""


class Leader(Alone):
    """Speaks for rank 0. Every method raises Lost once a process is gone, but for `end`, `part`, and after them."""

    def __init__(self, subject: Subject, group: Group) -> None:
        self._subject, self._group = subject, group
        self._open, self._ending = True, False
        self._apart: list[int] = []
        self._news: str = ""
        self.size = group.place.size
        self.places = tuple(group.introduce(str(subject.device)))
        group.listening = False

    def hear(self) -> None:
        """As of `Alone`."""
        self._group.listening = self._open

    def go_on(self, factor: float, clip: float) -> None:
        """As of `Alone`."""
        if self._open:
            self._group.announce(Order.LEARN, (factor, clip))
            self._group.listening = False

    def end(self, *, stopped: bool) -> None:
        """As of `Alone`."""
        self._end(STOPPED if stopped else OFF)

    def fail(self) -> None:
        """As of `Alone`."""
        self._end(FAILED)

    def _end(self, how: float) -> None:
        if self._open:
            with contextlib.suppress(Lost):
                self._group.announce(Order.END, (how,))
            self.part()

    def part(self) -> None:
        """As of `Alone`."""
        if self._open:
            self._open = self._group.listening = False
            self._group.close()

    def own_parts(self) -> dict[str, Any]:
        """As of `Alone`; also compares the weights of all processes."""
        if not self._open:
            return {}
        found: list[dict[str, bytes]] = []
        sums: list[Tensor] = []

        def ask() -> None:
            found.extend(own.gather(self._subject, self._group))
            sums.extend(self._group.gather(checksum(self._subject.model.parameters())))

        try:
            self._group.announce(Order.FREEZE, then=ask)
        except Lost:
            if not self._ending:
                raise
            self.part()  # at the end of the script another process may be gone already
            return {}
        self._compare(drifted(sums))
        return {"ranks": dict(enumerate(found, 1))}

    def thawed(self, snapshot: Snapshot) -> None:
        """As of `Alone`."""
        if self._open:
            block = packed(snapshot)
            self._group.announce(Order.THAW, then=lambda: self._group.hand_out(block))

    def aside(self, order: Order) -> None:
        """As of `Alone`."""
        if self._open:
            self._group.announce(order)

    def averaged(self, losses: list[Any]) -> list[Any]:
        """As of `Alone`."""
        if not self._open or not losses:
            return losses
        mean: list[Tensor] = []
        try:
            self._group.announce(Order.AVERAGE, (len(losses),),
                                 lambda: mean.append(own.average(losses, self._group)))
        except Lost:
            if not self._ending:
                raise
            self.part()
            return losses
        return list(mean[0].unbind()) if mean[0].is_cuda else mean[0].tolist()

    def about_to_end(self) -> None:
        """As of `Alone`."""
        self._ending = True

    def drift(self) -> Iterator[Event]:
        """As of `Alone`."""
        if self._news:
            words, self._news = self._news, ""
            yield EngineSaid(text=words, level="warning")

    def _compare(self, apart: list[int]) -> None:
        if apart and apart != self._apart:
            ranks = ", ".join(map(str, apart))
            self._news = (f"process {ranks} has other weights than process 0 at step {self._subject.progress.step:,}: "
                          "the processes no longer train one model; roll back to make them alike again")
        self._apart = apart
