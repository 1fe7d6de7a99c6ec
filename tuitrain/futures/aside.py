"""What a host does about the futures of its run: goes on where an arm ended. Its commands come from any front end."""

from collections.abc import Iterator

from tuitrain.engine.steering import Steering
from tuitrain.engine.trainer import Trainer
from tuitrain.futures import choosing
from tuitrain.futures.training import SimpleAside
from tuitrain.protocol import commands as c
from tuitrain.protocol.events import EpochEnded, Event
from tuitrain.run.directory import RunDirectory

CHOSEN = "arm chosen"
"""The reason of the checkpoint that follows."""


class Futures(SimpleAside):
    """An aside of the run in a folder."""

    answers: tuple[type[c.Command], ...] = (c.ChooseArm,)

    def __init__(self, trainer: Trainer, run: RunDirectory) -> None:
        self._trainer, self._run = trainer, run

    def attend(self, epoch: EpochEnded | None) -> Iterator[Event]:
        """Do nothing between steps."""
        return iter(())

    def answer(self, command: c.Command, steering: Steering) -> Iterator[Event]:
        """Carry out a command. Raises Refused."""
        if isinstance(command, c.ChooseArm):
            yield from steering.take_over(command, choosing.read(self._run, command.arm))
            self._trainer.saves.submit(self._trainer.machine.freeze(), CHOSEN, pinned=True)
