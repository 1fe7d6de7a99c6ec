"""Layout of a run folder, its lock, and how runs are found. Knows nothing about the content of the files.

    config.json     the sealed configuration, vocabulary and facts
    corpus.txt.gz   the text as it was trained on, so that the folder can be copied anywhere
    journal.jsonl   every event; journal.torn: incomplete last lines of writers that died
    index.json      a summary of the journal up to some byte, so that it need not be read from the start
    checkpoints/    one .safetensors and one .json each; the .json is the commit mark
    futures/        a folder for each race from one of its points, in it a run folder for each arm
    set-aside/      damaged files that `verify --repair` moved there
    lock, socket    of the process that is training; engine.log: its stray output

Files are readable by their owner only (0600 in folders of 0700) and never links.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuitrain.errors import RunError
from tuitrain.run import sealed
from tuitrain.run.folder import Folder, make_private, open_regular, read_regular, sync_folder

MAX_CONFIG = 32 << 20
"""Bytes; the vocabulary of all of Unicode takes 13 MB."""
_KEYS = ("v", "run", "config", "vocabulary", "corpus_name", "corpus_sha256", "corpus_bytes", "levels", "versions",
         "device", "threads", "precision", "processes")
_RETRIES, _PAUSE = 10, 0.02
"""`is_alive` holds the lock for a moment, so a single failed attempt proves nothing."""
_REMEDY = "restore it from a copy of the run"


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
    def index(self) -> Path:
        return self.path / "index.json"

    @property
    def socket(self) -> Path:
        return self.path / "socket"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    def create(self) -> None:
        """Create the folder. Raises RunError if it holds a run already or cannot be created."""
        if self.config.exists() or self.journal.exists():
            raise RunError(f"{self.path} is a run already; go on with `tuitrain resume {self.path}` "
                           "or name another folder with --run")
        try:
            make_private(self.path)
            with contextlib.suppress(FileExistsError), Folder(self.path) as folder:
                os.mkdir(self.checkpoints.name, 0o700, dir_fd=folder.fd)
            with Folder(self.path) as folder:
                Folder(Path(self.checkpoints.name), inside=folder).close()  # no link to elsewhere
                folder.sync()
            sync_folder(self.path.parent)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; name another folder with --run") from None

    def discard(self) -> None:
        """Remove the files of a run that could not start."""
        parts = (path.with_name(f".{path.name}.part") for path in (self.config, self.corpus))
        for path in (self.config, self.corpus, self.journal, self.index, self.path / "lock", *parts):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path):
            with contextlib.suppress(OSError):  # not empty: something else is in it
                folder.rmdir()

    def open_log(self) -> int:
        """Open engine.log for appending, creating the folder if needed. Raises RunError if that fails."""
        try:
            make_private(self.path)
            return open_regular(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; name another folder with --run") from None

    def read_config(self) -> dict[str, Any]:
        """Return config.json. Raises RunError if this is not a run, or if the file is damaged or too new."""
        return self.read_sealed_config()[0]

    def read_sealed_config(self) -> tuple[dict[str, Any], bool]:
        """Return config.json and whether it has a checksum. Raises RunError."""
        try:
            raw = read_regular(open_regular(self.config, os.O_RDONLY), MAX_CONFIG, self.config)
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.path} is not a run folder (it has no config.json); "
                           "`tuitrain runs` lists those there are") from None
        except OSError as error:
            raise RunError(f"{self.config} cannot be read: {error.strerror or error}") from None
        try:
            body, has_checksum = sealed.parse(raw, MAX_CONFIG)
        except ValueError as error:
            raise RunError(f"{self.config} is damaged: {error}; {_REMEDY}") from None
        unknown = sorted(body.keys() - set(_KEYS))
        if unknown:
            raise RunError(f"{self.config} has the key {unknown[0][:40]!r}, which this version does not know: a newer "
                           "version of tuitrain wrote it; use that one")
        if "run" in body and not has_checksum:
            raise RunError(f"{self.config} is damaged: its checksum is missing; {_REMEDY}")
        for key, kind in (("run", str), ("config", dict), ("vocabulary", str), ("corpus_name", str),
                          ("corpus_sha256", str), ("corpus_bytes", int), ("levels", dict), ("versions", dict)):
            if not isinstance(body.get(key, kind()), kind):
                raise RunError(f"{self.config} is damaged: {key} has the wrong type; {_REMEDY}")
        return body, has_checksum

    def write_config(self, body: dict[str, Any]) -> None:
        """Write config.json atomically, synced and with a checksum. Its `run` is the id of the run."""
        with Folder(self.path) as folder:
            folder.replace(self.config.name, sealed.dump(body, indent=2), "config")

    def lock(self) -> "Lock":
        """Lock the run for this process. Raises RunError naming the holder."""
        return Lock(self.path / "lock", self.path)


class Lock:
    """An flock on the run folder and on a file in it, freed by the kernel when the process dies, however it dies.

    The file names the holder and is never deleted by us; if somebody deletes it, the folder is still locked. On file
    systems that cannot lock a folder only the file counts.
    """

    def __init__(self, path: Path, run: Path) -> None:
        try:
            self.folder = Folder(run)
            self._fd = self.folder.open(path.name, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunError(f"{path}: {error.strerror or error}; a copy of the run goes on anywhere: `cp -r {run} "
                           "SOMEWHERE`") from None
        if not (_locked(self._fd) and _locked(self.folder.fd)):
            holder = _text(self._fd).removesuffix(f" on {socket.gethostname()}") or "another process"
            self.release()
            raise RunError(f"{run} is being trained by {holder}; watch it with `tuitrain attach {run}`, "
                           f"end it with `tuitrain send {run} stop`") from None
        with contextlib.suppress(OSError):  # on a full disk the holder goes unnamed; the lock counts
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def release(self) -> None:
        """Release the lock; the file stays."""
        for fd in (self._fd, self.folder.fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def _locked(fd: int) -> bool:
    """Lock a descriptor; True also on file systems that cannot lock it."""
    for _ in range(_RETRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return True
            time.sleep(_PAUSE)
        else:
            return True
    return False


def state_of(run: RunDirectory, ended: str) -> str:
    """Return what a run is doing, in a word for tables; `ended` is how it ended the last time, empty if unknown."""
    return "running" if is_alive(run) else ended or "interrupted"


def is_alive(run: RunDirectory) -> bool:
    """Whether a process holds the run's lock now."""
    for path, flags in ((run.path, os.O_DIRECTORY), (run.path / "lock", os.O_NOFOLLOW | os.O_NONBLOCK)):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
        finally:
            os.close(fd)
    return False


def host_of(run: RunDirectory) -> str:
    """Return the name of the other machine that trained this run last; empty if it was this one or is unknown.

    Locks do not work across every shared file system, so whether a process is alive there cannot be seen here.
    """
    try:
        fd = open_regular(run.path / "lock", os.O_RDONLY)
    except (OSError, RunError):
        return ""
    try:
        _, _, name = _text(fd).partition(" on ")
    finally:
        os.close(fd)
    return "" if name == socket.gethostname() else name


def _text(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace").strip()


def new_id() -> str:
    """Return the id of a new run; its checkpoints carry it, so that they cannot be mistaken for another run's."""
    return secrets.token_hex(8)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file by temporary file, fsync, rename and fsync of the folder: readers see the old or the new one."""
    with Folder(path.parent) as folder:
        folder.replace(path.name, data, "file")


def new_run(parent: Path, stem: str) -> RunDirectory:
    """Create the next free `<stem>-<n>` under a folder; a concurrent caller gets another number.

    Raises RunError if it cannot be created.
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
    """Return the runs directly under a folder, oldest first."""
    if not parent.is_dir():
        return []
    found = []
    for path in parent.iterdir():
        with contextlib.suppress(OSError):
            found.append(((path / "config.json").lstat().st_mtime, str(path), RunDirectory(path)))
    return [run for _, _, run in sorted(found, key=lambda entry: entry[:2])]
