"""`watch`: opens a run with a folder, a journal and a socket for a model and its optimizer."""

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.optim import Optimizer

from tuitrain.engine.choice import snapshot_of
from tuitrain.errors import RunError, UsageError
from tuitrain.host.host import Host
from tuitrain.intervals import Every
from tuitrain.knobs import Knobs
from tuitrain.protocol import codec
from tuitrain.protocol.capabilities import LossUnit
from tuitrain.protocol.events import RunResumed, RunStarted
from tuitrain.run import checkpoints, index
from tuitrain.run.checkpoints import Retention
from tuitrain.run.directory import Lock, RunDirectory, new_id, new_run
from tuitrain.run.journal import Journal
from tuitrain.run.saver import Saver
from tuitrain.specs import GUARD_MODES
from tuitrain.watching.gradients import Grouped, Groups
from tuitrain.watching.loop import Loop
from tuitrain.watching.offers import SEVERAL, Offers
from tuitrain.watching.outlet import Outlet
from tuitrain.watching.pilot import Pilot
from tuitrain.watching.recorder import Recorder
from tuitrain.watching.subject import Stateful, Subject, bare, check_not_sharded

KIND = "watched"
"""`kind` in the configuration of a run that is a watched loop."""
RUN_VARIABLE = "TUITRAIN_RUN"
"""Environment variable with the run folder for a script that names none; `tuitrain run` sets it."""


def watch(model: nn.Module, optimizer: Optimizer | Sequence[Optimizer], *, run: str | os.PathLike[str] | None = None,
          scheduler: Stateful | Sequence[Stateful] | None = None, total_steps: int | None = None,
          groups: Groups | None = None, resume: bool = False, guard: str = "warn", loss: str = "loss",
          checkpoint_every: Every = "60s", snapshot_every: Every = "5s", snapshot_memory: int | None = None,
          keep: int = 3) -> Pilot:
    """Open a run folder and a socket for the training loop that follows, print how to attach, and return its Pilot.

    `run` is the run folder (default: runs/<script>-<n>); with `resume` the run continues from its newest checkpoint,
    if it has one. `scheduler` is saved and restored along with the optimizer. `total_steps` is shown as the end.
    `groups` names the parts of the model whose gradient norms are shown separately (default: its top-level modules).
    `guard` decides what happens when training breaks: warn, pause, rollback or stop. `loss` is the name of the quantity
    that is minimised. `snapshot_memory` is in MB (default: a twentieth of the machine's memory).

    Raises UsageError for invalid arguments, RunError if the folder belongs to another run or is in use.
    """
    optimizers = _checked(model, optimizer, guard, total_steps)
    schedulers = [] if scheduler is None else list(scheduler) if isinstance(scheduler, Sequence) else [scheduler]
    knobs, grouped = _knobs(optimizers[0], total_steps), Grouped(bare(model), groups)
    rank, world = _place()
    subject, group = Subject(model, optimizers, schedulers, knobs), None
    if world > 1:
        from tuitrain.watching.ranks import joining  # few scripts need torch.distributed

        group = joining.join(subject.model)
        if rank:
            return joining.following(model, optimizers, schedulers, knobs, grouped, group) if group else _Bystander()
        if group is not None:
            subject.ranks = joining.Leader(subject, group)
    how = {"guard": guard, "snapshot_every": snapshot_every, "checkpoint_every": checkpoint_every,
           "snapshot_memory": (snapshot_memory << 20) if snapshot_memory else psutil.virtual_memory().total // 20}
    try:
        pilot = _open(subject, grouped, run, resume, LossUnit(loss, "", 1.0), total_steps,
                      steered=world == 1 or group is not None, how=how, keep=keep)
    except BaseException:
        subject.ranks.fail()
        raise
    subject.ranks.go_on(subject.factor, subject.knobs.clip)
    return pilot


def _open(subject: Subject, grouped: Grouped, run: str | os.PathLike[str] | None, resume: bool, unit: LossUnit,
          total: int | None, *, steered: bool, how: dict[str, Any], keep: int) -> Pilot:
    """Open the folder, the journal and the socket. Raises RunError or UsageError, and leaves nothing behind then."""
    name = _script()
    path = run if run is not None else os.environ.get(RUN_VARIABLE)
    folder = RunDirectory(Path(path)) if path else new_run(Path("runs"), name)
    resumes = resume and (folder.config.exists() or folder.journal.exists())
    lock = _opened(folder, resumes)
    try:
        kept = folder.read_config() if resumes else _begun(folder, subject, name, total)
        loop, outlet = _built(subject, grouped, folder, kept, resumes, unit, total, steered, how, keep)
        host = Host(outlet, folder, lock)
    except BaseException:
        lock.release()
        if not resumes:
            folder.discard()
        raise
    loop.offers.remarks += [] if steered else [SEVERAL]
    sys.stderr.write(f"tuitrain: watching; `tuitrain attach {folder.path}` in another terminal is the cockpit\n")
    return Pilot(loop, outlet, host)


class _Bystander(Pilot):
    """The pilot of a process other than rank 0 where that alone is watched: does nothing."""

    def __init__(self) -> None:
        self._live = self._stopped = False


def _checked(model: nn.Module, optimizer: Optimizer | Sequence[Optimizer], guard: str, total: int | None
             ) -> list[Optimizer]:
    if not isinstance(model, nn.Module):
        raise UsageError(f"tuitrain.watch: model is a {type(model).__name__}; give a torch.nn.Module, several as "
                         "torch.nn.ModuleList([a, b])")
    optimizers = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
    for one in optimizers:
        if not isinstance(one, Optimizer):
            raise UsageError(f"tuitrain.watch: optimizer is a {type(one).__name__}; give a torch.optim.Optimizer, or a "
                             "list of them")
    if not optimizers:
        raise UsageError("tuitrain.watch: give an optimizer")
    if guard not in GUARD_MODES:
        raise UsageError(f"tuitrain.watch: guard={guard!r}; choose one of {', '.join(GUARD_MODES)}")
    if total is not None and total < 0:
        raise UsageError(f"tuitrain.watch: total_steps={total}; give the number of the last step, or None")
    check_not_sharded(model)
    return optimizers


def _place() -> tuple[int, int]:
    """Return (rank of this process, number of processes) of distributed training; (0, 1) without it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _script() -> str:
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    return Path(path).stem if path else "notebook"


def _knobs(optimizer: Optimizer, total: int | None) -> Knobs:
    from tuitrain.watching.rates import reference_of

    return Knobs(lr=reference_of(optimizer), clip=0.0, temperature=(1.0,), prompt="", steps=total or 0)


def _opened(folder: RunDirectory, resumes: bool) -> Lock:
    if not resumes:
        folder.create()
    return folder.lock()


def _config(subject: Subject, total: int | None) -> dict[str, Any]:
    """Return what is known of a script's loop, in the place of a sealed configuration."""
    group = subject.optimizers[0].param_groups[0]
    return {"kind": KIND, "optimizer": subject.config.optimizer, "betas": list(subject.config.betas),
            "alpha": float(group.get("alpha", 0.99)), "lr": subject.reference, "clip": 0.0, "steps": total or 0}


def _begun(folder: RunDirectory, subject: Subject, name: str, total: int | None) -> dict[str, Any]:
    """Write and return config.json of a new run."""
    kept = {"v": codec.VERSION, "run": new_id(), "config": _config(subject, total), "vocabulary": "",
            "corpus_name": name, "corpus_sha256": "", "levels": {}, **subject.environment}
    folder.write_config(kept)
    return kept


def _built(subject: Subject, grouped: Grouped, folder: RunDirectory, kept: Mapping[str, Any], resumes: bool,
           unit: LossUnit, total: int | None, steered: bool, how: dict[str, Any], keep: int) -> tuple[Loop, Outlet]:
    run = str(kept.get("run", ""))
    if resumes and kept.get("config", {}).get("kind") != KIND:
        raise RunError(f"{folder.path} is not the run of a script; continue it with `tuitrain resume {folder.path}`, "
                       "or name another folder with run=")
    restored = _restored(subject, folder, run) if resumes else None
    script = f"run the script again with tuitrain.watch(…, run={str(folder.path)!r}, resume=True)"
    offers = Offers(unit, total or 0, script, steered=steered)
    book = Journal(folder.journal)
    saver = Saver(folder.checkpoints, Retention(last=keep), run=run, sync=book.sync)
    described = _described(subject, grouped)

    def opening() -> RunStarted | RunResumed:
        facts = {"knobs": codec.plain(dataclasses.asdict(subject.knobs)), "guard": how["guard"], "pid": os.getpid(),
                 "parameters": sum(p.numel() for p in subject.model.parameters()), "remarks": [],
                 "description": [list(row) for row in described], "ranks": list(subject.ranks.places),
                 **offers.facts()}
        common: dict[str, Any] = {"config": _config(subject, total), "vocabulary": "", "facts": facts,
                                  **subject.environment}
        if restored is None:
            return RunStarted(**common)
        before, now = int(restored.values.get("environment", {}).get("processes", 1)), subject.ranks.size
        why = "; ".join(["the script feeds its data from the beginning"] * (not subject.restores_data)
                        + [f"processes were {before}, are {now}"] * (before != now))
        progress = subject.progress
        return RunResumed(branch=progress.branch, step=restored.step, checkpoint=restored.name, exact=not why,
                          why_not=why, parent=progress.parent if progress.branch != restored.branch else None, **common)

    serial = max((checkpoints.written(c) for c in checkpoints.list_all(folder.checkpoints)), default=0)
    recorder = Recorder(subject, grouped, subject.device)
    loop = Loop(subject, recorder, saver, opening, offers, serial=serial, **how)
    if restored is not None:
        loop.best = float(restored.values.get("best_val", "inf"))
        loop.steering.branches = max(loop.steering.branches, _highest_branch(folder) + 1)
    outlet = Outlet(loop.orders.inbox.put, book, how["guard"])
    outlet.on_saving(lambda call: setattr(loop.saves, "on_committed", call))
    return loop, outlet


def _restored(subject: Subject, folder: RunDirectory, run: str) -> checkpoints.Checkpoint | None:
    """Restore the newest valid checkpoint and return it; None if the run has none. Raises RunError."""
    checkpoints.clean(folder.checkpoints, run)
    if not checkpoints.list_all(folder.checkpoints, run):
        return None
    mark, tensors, wrong = checkpoints.load_newest(folder.checkpoints, run=run)
    for words in wrong:
        sys.stderr.write(f"tuitrain: {words}; resuming from {mark.name}\n")
    try:
        subject.thaw(snapshot_of(mark, tensors))
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise RunError(f"{folder.checkpoints / mark.name} does not fit this model and optimizer "
                       f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); name another run "
                       "folder, or leave out resume") from None
    tip = index.digest(folder).tips.get(mark.branch, 0)
    if tip > mark.step:
        progress = subject.progress
        progress.lineage.append([progress.branch, progress.step])
        progress.branch = _highest_branch(folder) + 1
    return mark


def _highest_branch(folder: RunDirectory) -> int:
    return max(index.digest(folder).highest_branch, checkpoints.highest_branch(folder.checkpoints))


def _described(subject: Subject, grouped: Grouped) -> Iterable[tuple[str, str]]:
    """Yield (label, value) rows that describe the model and its optimizers to a person."""
    model, count = subject.model, sum(p.numel() for p in subject.model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    yield "model", type(model).__name__
    yield "size", f"{count:,} parameters" + (f", {frozen:,} of them frozen" if frozen else "")
    names = ", ".join(type(o).__name__ for o in subject.optimizers)
    parts = sum(len(o.param_groups) for o in subject.optimizers)
    yield "steps", names + (f", {parts} parameter groups" if parts > 1 else "")
    if subject.schedulers:
        yield "schedule", ", ".join(type(s).__name__ for s in subject.schedulers)


