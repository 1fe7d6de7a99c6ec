"""Arms as jobs of a cluster, by submitit (an optional package): each reads the restore point from the shared disk and
writes its own run folder there. The queue is the cluster's; nothing is sent but the task.
"""

import os
from pathlib import Path
from typing import Any

import psutil

from tuitrain.diagnosis.arms import MOST
from tuitrain.errors import RunError, UsageError
from tuitrain.futures.jobs import Job, Task

SLURM, LOCAL = NAMES = ("slurm", "local")
"""submitit's names of its executors; the local one runs jobs as processes of this machine."""
SETTINGS = "TUITRAIN_SLURM"
"""The variable with what jobs ask for, as `timeout_min=60 slurm_partition=gpu`, in submitit's words."""
USUAL: dict[str, Any] = {"timeout_min": 240}
PATIENCE = 30.0
"""Seconds that a process which has written its result may take to end."""
NOTES = "submitit"
"""The folder of a race for the job scripts, their pickled tasks and output."""


def settings(text: str) -> dict[str, Any]:
    """What a job asks for. Raises UsageError."""
    found = dict(USUAL)
    for word in text.split():
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"{SETTINGS}: {word!r} is not NAME=VALUE, such as slurm_partition=gpu")
        found[name] = int(value) if value.isdigit() else value
    return found


class Submitted:
    """A job."""

    def __init__(self, job: Any, key: str, cluster: str) -> None:
        self._job, self.key, self._cluster = job, key, cluster

    @property
    def ended(self) -> bool:
        """Whether it is neither queued nor trained."""
        done = bool(self._job.done())  # of a process that is ours it also takes the end
        return _process(self.key) is None if self._cluster == LOCAL else done

    def kill(self) -> None:
        """Cancel it."""
        process = _process(self.key) if self._cluster == LOCAL else None
        if self._cluster == SLURM:
            self._job.cancel(check=False)
        elif process is not None:
            for one in (*process.children(recursive=True), process):
                one.kill()

    def close(self) -> None:
        """Wait for the end of a process of this machine; a cluster ends its jobs by itself."""
        process = _process(self.key) if self._cluster == LOCAL else None
        if process is not None:
            psutil.wait_procs([process], timeout=PATIENCE)
        self._job.done()


class Cluster:
    """A cluster with a queue of its own, which is handed all arms at once."""

    at_once = MOST
    lasts = True

    def __init__(self, name: str) -> None:
        """Raises UsageError if there is no such cluster, or no submitit."""
        try:
            import submitit
        except ImportError:
            raise UsageError(f"--on {name} needs submitit: pip install 'tuitrain[slurm]'") from None
        if name not in NAMES:
            raise UsageError(f"--on {name}: choose one of {', '.join(NAMES)}")
        self.name, self._submitit = name, submitit
        self.words = f"as jobs of {name if name == SLURM else 'this machine'}"
        self._settings = settings(os.environ.get(SETTINGS, ""))

    def submit(self, task: Task) -> Job:
        """Queue a task. Raises RunError."""
        try:
            executor = self._submitit.AutoExecutor(folder=task.folder.parent / NOTES, cluster=self.name)
            executor.update_parameters(name=f"arm-{task.folder.name}"[:60], **self._settings)
            job = executor.submit(task)
        except (OSError, RuntimeError, ValueError, NameError) as error:
            raise RunError(f"{self.words}: {error}") from None
        return Submitted(job, str(job.job_id), self.name)

    def again(self, folder: Path, key: str) -> Job:
        """The job of another process's race in this folder."""
        kind = self._submitit.SlurmJob if self.name == SLURM else self._submitit.LocalJob
        return Submitted(kind(folder=folder / NOTES, job_id=key), key, self.name)


def _process(pid: str) -> psutil.Process | None:
    """A process that lives, None if it does not."""
    try:
        process = psutil.Process(int(pid))
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.Error, ValueError):
        return None
