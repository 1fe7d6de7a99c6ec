"""What a watched loop does about other processes where there are none: nothing. Its subclass is `Leader`."""

from collections.abc import Iterator, Mapping
from typing import Any

from tuitrain.engine.ranks.group import Order
from tuitrain.engine.snapshot import Snapshot
from tuitrain.protocol.events import Event


class Alone:
    """The only process of a loop."""

    size = 1
    places: tuple[str, ...] = ()
    """Where each of several processes computes, in words."""

    def hear(self) -> None:
        """Begin the work between two steps, during which the other processes listen."""

    def go_on(self, factor: float, clip: float) -> None:
        """End it: all make the next step, with this factor on their learning rates and this clip."""

    def end(self, *, stopped: bool) -> None:
        """End the watching in all processes, and their loops if `stopped`."""

    def fail(self) -> None:
        """End the watching in all processes before it has begun: this one cannot open the run."""

    def about_to_end(self) -> None:
        """From now on another process may be gone without harm."""

    def part(self) -> None:
        """Announce nothing any more, because the others do not listen: their loop, or this one, was cut off."""

    def own_parts(self) -> dict[str, Any]:
        """Return the state of which each process has its own, by rank."""
        return {}

    def choose(self, first: Mapping[str, Any], parts: Mapping[int, Mapping[str, bytes]] | None) -> Mapping[str, Any]:
        """Return what this process restores of a snapshot's random numbers and registered objects.

        `first` is what rank 0 had; `parts` is what `own_parts` returned, None if one process saved alone.
        """
        return first

    def thawed(self, snapshot: Snapshot) -> None:
        """Restore a snapshot in all other processes, too, after this one."""

    def aside(self, order: Order) -> None:
        """Have the others call their function for an evaluation or a sample along with this process."""

    def averaged(self, losses: list[Any]) -> list[Any]:
        """Return the losses of the last steps, averaged over all processes."""
        return losses

    def drift(self) -> Iterator[Event]:
        """Yield an alarm when weights were found to differ between processes."""
        return iter(())
