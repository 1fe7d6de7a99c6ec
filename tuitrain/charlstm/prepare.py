"""Leads from what a person typed to a worker that is ready to train, in five stages.

Read the text, choose the hardware, seal the configuration, build the model, open the run (charlstm/start has a module
for each). A resumed run passes the same stages, with a configuration that is sealed already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuitrain.charlstm.config import Config
from tuitrain.charlstm.runtime import Report
from tuitrain.charlstm.start import building, choices, hardware, opening, reading, sealing
from tuitrain.charlstm.text.corpus import Corpus
from tuitrain.engine.promise import Promise
from tuitrain.engine.worker import Worker
from tuitrain.run.directory import RunDirectory

if TYPE_CHECKING:
    from tuitrain.engine.ranks.group import Group


@dataclass(frozen=True, slots=True)
class Plan:
    """A sealed configuration with the text it is for."""

    config: Config
    corpus: Corpus
    remarks: tuple[str, ...]
    timed: choices.Choice
    """The threads and precision that the race chose, and their time per step."""


def plan(given: Mapping[str, Any], report: Report = lambda words: None) -> Plan:
    """Run the first three stages, which write nothing, and return their result. Raises UsageError, CorpusError."""
    asked = Config.of(given)
    text = reading.read(asked, report)
    remarks = list(text.remarks)
    chosen = hardware.choose(given, asked.device, text, remarks.append, report)
    return Plan(sealing.seal(chosen.config, text, chosen.timed), text, tuple(remarks), chosen.timed)


def start(made: Plan, run: RunDirectory, report: Report = lambda words: None, began: float | None = None,
          group: "Group | None" = None) -> Worker:
    """Run the last two stages and return a worker for a new run in an empty folder that the caller has locked.

    `began` is the monotonic time from which the minutes of a run count; None: from now.
    """
    report("building the model")
    machine = building.build(made.config, made.corpus, group)
    opened = opening.open_new(machine, run, made.remarks, made.timed.compared, report)
    worker = opening.hand_over(machine, run, opened, began)
    # Not on a GPU, whose steps are queued before they are done, and not where the race was not trusted.
    if machine.device.type == "cpu" and group is None and (key := made.timed.key):
        worker.trainer.promise = Promise(made.timed.step_seconds, lambda: choices.forget(key))
    return worker


def resume(run: RunDirectory, *, steps: int | None, knobs: Mapping[str, Any], corpus_path: str | None,
           checkpoint: int | None = None, group: "Group | None" = None, epochs: float | None = None) -> Worker:
    """Return a worker that continues exactly from the newest valid checkpoint. Raises TuitrainError.

    `steps` or `epochs`, counted from the begin of the run, set another end.
    """
    kept, has_checksum = run.read_sealed_config()
    config = sealing.sealed(run, kept)
    text = reading.read_again(run, kept, config, corpus_path)
    changed: list[str] = []
    config = hardware.choose_again(config, text, changed.append, group.place if group else None)
    machine, mark = building.rebuild(config, text, run, str(kept.get("run", "")), checkpoint, changed, group)
    if not has_checksum or not mark.run:
        machine.remarks.append("config.json and the checkpoints were written by an older version, without checksums; "
                               "damage to them may go unnoticed")
    return opening.hand_over(machine, run, opening.open_again(machine, run, kept, mark, steps, knobs, epochs))
