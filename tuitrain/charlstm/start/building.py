"""Fourth stage: build the model and its training state, new or from a checkpoint. Writes nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuitrain.charlstm import footprint
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.machine import Machine
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine.choice import snapshot_of
from tuitrain.errors import CheckpointError
from tuitrain.knobs import Knobs
from tuitrain.run import checkpoints
from tuitrain.run.directory import RunDirectory

if TYPE_CHECKING:
    from tuitrain.engine.ranks.group import Group

FIRST_CLIP = 1.0
"""The automatic clip until the run has enough norms of its own."""


def build(config: Config, text: Corpus, group: "Group | None" = None) -> Machine:
    """Return model, optimizer, cursor, schedule and knobs at step 0, in all processes of a group."""
    if group is not None:
        from tuitrain.charlstm.ranks.leader import Leader  # few runs need torch.distributed

        return Leader(config, text, first_knobs(config), group)
    return Machine(config, text, first_knobs(config))


def rebuild(config: Config, text: Corpus, run: RunDirectory, id: str,
            checkpoint: int | None, changed: Sequence[str] = (),
            group: "Group | None" = None) -> tuple[Machine, checkpoints.Checkpoint]:
    """Restore the newest valid checkpoint, or that of step `checkpoint`; return the machine and the checkpoint.

    `changed` describes other differences from before; the machine's remarks begin with it. Raises CheckpointError.
    """
    left = checkpoints.clean(run.checkpoints, id)
    mark, tensors, wrong = checkpoints.load_newest(run.checkpoints, checkpoint, run=id,
                                                   most=footprint.largest_checkpoint(config, len(text.vocabulary)))
    machine = build(config, text, group)
    try:
        machine.thaw(snapshot_of(mark, tensors))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{run.checkpoints / mark.name} does not fit the model of this run ({words}); name "
                              "another one with --checkpoint") from None
    machine.remarks += [*changed, *(f"{message}; resuming from {mark.name}" for message in wrong), *left]
    return machine, mark


def first_knobs(config: Config) -> Knobs:
    """The knobs that a new run starts with."""
    automatic = isinstance(config.clip, str)
    return Knobs(lr=config.lr, clip=FIRST_CLIP if isinstance(config.clip, str) else config.clip, clip_auto=automatic,
                 temperature=config.temperature, prompt=config.prompt, steps=config.steps)
