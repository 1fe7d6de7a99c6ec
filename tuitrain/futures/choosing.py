"""Reads an arm of a race so that the run can go on where it ended. Knows no engine that trains.

Its journal has what was trained, its last checkpoint the state it ended with; nothing is trained twice.
"""

import json
from pathlib import Path

from tuitrain.engine.choice import snapshot_of
from tuitrain.engine.progress import progress_of
from tuitrain.engine.steering import Trained
from tuitrain.errors import Refused, RunError, TuitrainError
from tuitrain.futures.race import FOLDER, PLAN
from tuitrain.protocol import askers
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.run import checkpoints, journal
from tuitrain.run.directory import RunDirectory

TOLD = (e.StepsDone, e.StepSkipped, e.EpochEnded, e.Evaluated, e.SampleDrawn, f.Measured, f.Probed, e.KnobChanged)
"""What belongs to the steps; findings are left out, for the run's own analyst judges the steps again."""


def races(run: RunDirectory) -> list[Path]:
    """The folders of a run's races, the newest last."""
    parent = run.path / FOLDER
    found = [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def find(run: RunDirectory, text: str) -> str:
    """The arm that a person names by its number or its words, of the newest race, or by its folder.

    Returns its folder under the run's `futures`. Raises RunError.
    """
    where, _, named = text.strip("/").rpartition("/")
    known = races(run)
    if where:
        known = [race for race in known if race.name == Path(where).name]
    arms = sorted((arm for arm in known[-1].iterdir() if arm.is_dir()), key=_number) if known else []
    wanted = named.replace(", ", "-").replace(" ", "-")
    for arm in arms:
        number, _, stem = arm.name.partition("-")
        if wanted in (arm.name, number, stem):
            return f"{arm.parent.name}/{arm.name}"
    there = "; there are " + ", ".join(arm.name for arm in arms) if arms else ""
    raise RunError(f"{run.path} has no arm {text!r}{there}; `tuitrain futures {run.path}` trains some")


def _number(arm: Path) -> int:
    number = arm.name.partition("-")[0]
    return int(number) if number.isdigit() else 0


def read(run: RunDirectory, arm: str) -> Trained:
    """What an arm trained, and how it ended. Raises Refused."""
    folder = RunDirectory(run.path / FOLDER / arm)
    if ".." in Path(arm).parts or not folder.config.exists():
        raise Refused(f"there is no arm {arm[:80]!r}")
    try:
        ours, theirs = (str(it.read_config().get("run", "")) for it in (run, folder))
        if ours != theirs:
            raise Refused(f"arm {arm} is of another run")
        told = [event for event, _ in journal.read(folder.journal)]
        marks = sorted(checkpoints.list_all(folder.checkpoints, theirs), key=checkpoints.written)
        began = next((event for event in told if isinstance(event, e.RunResumed)), None)
        last = max((event.first_step + len(event.loss) - 1 for event in told if isinstance(event, e.StepsDone)),
                   default=0)
        begin = next((mark for mark in marks if began is not None and mark.name == began.checkpoint), None)
        if began is None or begin is None or last <= begin.step or marks[-1].step != last:
            raise Refused(f"arm {arm} was not trained to an end: there is nothing to go on from")
        end = snapshot_of(marks[-1], checkpoints.load(folder.checkpoints, marks[-1]))
        named = json.loads((folder.path.parent / PLAN).read_bytes())
    except (TuitrainError, OSError, ValueError) as error:
        raise error if isinstance(error, Refused) else Refused(f"arm {arm} cannot be read: {error}") from None
    events = tuple(event for event in told if isinstance(event, TOLD) and not (
        isinstance(event, e.KnobChanged) and event.by != askers.ADVISOR))
    return Trained(arm, str(named["point"]), begin.branch, begin.step, progress_of(begin.values).lineage,
                   dict(began.facts.get("knobs", {})), float(began.facts.get("moments", 1.0)), events, end)
