"""A run of any length in seconds: a short one that was trained, told again and again, with a checkpoint at its end."""

import dataclasses
import re
from pathlib import Path

from tests.faults.campaign import PATIENCE, Process
from tuitrain.protocol import events as e
from tuitrain.run import checkpoints, journal
from tuitrain.run.checkpoints import Checkpoint, name_of
from tuitrain.run.directory import RunDirectory

TRAINED = 4000
"""Steps that are trained; those of a longer run repeat them."""
EVENTFUL = ["--sample-every=500", "--evaluate-every=500", "--snapshot-every=1000", "--on-divergence=warn",
            "--sample-length=300"]
STEPS = ("step", "first_step", "val_step")


def long_run(folder: Path, steps: int, trained: int = TRAINED) -> RunDirectory:
    """A run that has ended at `steps`, a multiple of those that are `trained`, and can be resumed there."""
    process = Process.fresh(folder, *EVENTFUL, f"--steps={trained}")
    if process.process.wait(10 * PATIENCE) != 0:
        raise AssertionError(f"no run to make longer: {process.tail()}")
    run = process.run
    started, *told, (ended, at) = journal.read(run.journal)
    lasts = at - started[1]
    run.journal.unlink()
    run.index.unlink(missing_ok=True)
    book = journal.Journal(run.journal)
    book.write(*started)
    for by in range(0, steps, trained):
        for event, when in told:
            book.write(_moved(event, by), when + by / trained * lasts)
    book.write(_moved(ended, steps - trained), at + (steps / trained - 1) * lasts)
    book.close()
    _save_again(run, steps)
    return run


def _moved(event: e.Event, by: int) -> e.Event:
    """The event as it would be so many steps later."""
    changes: dict[str, object] = {name: getattr(event, name) + by for name in STEPS if hasattr(event, name)}
    if hasattr(event, "path"):
        changes["path"] = re.sub(r"\d{9,}", lambda found: f"{int(found[0]) + by:09d}", event.path)
    return dataclasses.replace(event, **changes)


def _save_again(run: RunDirectory, step: int) -> Checkpoint:
    """Commit what the newest checkpoint holds as that of a later step."""
    mark, tensors, _ = checkpoints.load_newest(run.checkpoints)
    values = {**mark.values, "progress": {**mark.values["progress"], "step": step},
              "serial": checkpoints.written(mark) + 1}
    for old in run.checkpoints.iterdir():
        old.unlink()
    saved = checkpoints.save(run.checkpoints, tensors, branch=mark.branch, step=step, reason=mark.reason, pinned=False,
                             values=values, run=mark.run)
    assert saved.name == name_of(mark.branch, step)
    return saved
