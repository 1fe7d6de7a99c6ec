"""Layout of a run folder, its lock, and how runs are found. Knows nothing of what the files say.

    config.json     the sealed configuration, vocabulary and facts
    corpus.txt.gz   the text as it was trained on, so that the folder can travel
    journal.jsonl   every event
    checkpoints/    one .safetensors and one .json each; the .json is the commit mark
    lock, socket    of the process that trains now; engine.log: its stray output
"""

import contextlib
import fcntl
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuitrain.errors import RunError
from tuitrain.run import failpoints


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def corpus(self) -> Path:
        return self.path / "corpus.txt.gz"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def socket(self) -> Path:
        return self.path / "socket"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    def create(self) -> None:
        """Make the folder. Raises RunError if it is a run already or cannot be made."""
        if self.config.exists() or self.journal.exists():
            raise RunError(f"{self.path} is a run already; go on with `tuitrain resume {self.path}` "
                           "or name another folder with --run")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; name another folder with --run") from None

    def discard(self) -> None:
        """Take away what was made of a run that could not begin."""
        for path in (self.config, self.corpus, self.journal, self.path / "lock", self.config.with_suffix(".json.part")):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            with contextlib.suppress(OSError):  # it holds something else, and stays
                folder.rmdir()

    def open_log(self) -> int:
        """A descriptor at the end of engine.log, the folder made if need be. Raises RunError if that cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; name another folder with --run") from None

    def read_config(self) -> dict[str, Any]:
        """What config.json says. Raises RunError if this is no run."""
        try:
            body = json.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run folder (it has no config.json); "
                           "`tuitrain runs` lists those there are") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config} cannot be read: {error}") from None
        if not isinstance(body, dict):
            raise RunError(f"{self.config} does not hold a configuration")
        return body

    def write_config(self, body: dict[str, Any]) -> None:
        """Write config.json atomically."""
        write_atomically(self.config, json.dumps(body, indent=2, ensure_ascii=True).encode())

    def lock(self) -> "Lock":
        """Take the run for this process. Raises RunError naming the holder."""
        return Lock(self.path / "lock", self.path)


class Lock:
    """An flock on a file that is never deleted: free again the moment its process dies, however it dies."""

    def __init__(self, path: Path, run: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunError(f"{path}: {error.strerror or error}; a copy of the run goes on anywhere: `cp -r {run} "
                           "SOMEWHERE`") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _text(self._fd) or "another process"
            os.close(self._fd)
            raise RunError(f"{run} is being trained by {holder}; watch it with `tuitrain attach {run}`, "
                           f"end it with `tuitrain send {run} stop`") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"pid {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def is_alive(run: RunDirectory) -> bool:
    """Whether a process holds the run's lock now."""
    try:
        fd = os.open(run.path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _text(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace").strip()


def write_atomically(path: Path, data: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the folder: a reader sees the old file or the new one."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        failpoints.reached("json-open")
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoints.reached("json-written")
    os.replace(part, path)
    failpoints.reached("json-renamed")
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def new_run(parent: Path, stem: str) -> RunDirectory:
    """The next free `<stem>-<n>` under a folder, made at once: who asks at the same moment gets another number.

    Raises RunError if it cannot be made.
    """
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = {p.name for p in parent.iterdir()}
        for number in itertools.count(1):
            path = parent / f"{stem}-{number}"
            if path.name not in taken:
                with contextlib.suppress(FileExistsError):
                    path.mkdir(mode=0o700)
                    break
    except OSError as error:
        raise RunError(f"{parent}: {error.strerror or error}; name another folder with --run") from None
    return RunDirectory(path)


def find_runs(parent: Path) -> list[RunDirectory]:
    """The runs directly under a folder, oldest first."""
    if not parent.is_dir():
        return []
    found = [RunDirectory(p) for p in parent.iterdir() if (p / "config.json").is_file()]
    return sorted(found, key=lambda run: run.config.stat().st_mtime)
