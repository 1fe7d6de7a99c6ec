"""A folder held open, and files in it that are what they seem: regular, ours to write, no links. Knows no formats.

All goes through the descriptor of the folder, so a process writes into the folder that it opened even if its name
means another one by now, and a link inside cannot lead out of it.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from tuitrain.errors import RunError
from tuitrain.run import failpoints

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""What a run writes is its owner's alone."""
BLOCK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Folder:
    """A folder by its descriptor. Every method raises OSError where the disk does, RunError for a link or a device."""

    def __init__(self, path: Path, *, inside: "Folder | None" = None) -> None:
        """Open a folder: any path, or a plain name inside a folder that is open already, which may not be a link."""
        self.path: Path = path if inside is None else inside.path / path
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.fd: int
        try:
            self.fd = os.open(path, flags) if inside is None else os.open(path, flags | os.O_NOFOLLOW, dir_fd=inside.fd)
        except OSError as error:
            if inside is not None and error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise RunError(f"{self.path} is not a folder but a link or a file; a run does not leave its folder: "
                               "put a real folder in its place") from None
            raise

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go; a second time is none."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def gone(self) -> bool:
        """Whether the path means no longer this folder: it was removed, moved away or begun anew."""
        if self.fd < 0:
            return False
        try:
            there = os.stat(self.path)
        except OSError:
            return True
        here = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def inner(self, name: str) -> "Folder":
        """A folder in this one, made for its owner alone if it is not there. Raises RunError if it is a link."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PRIVATE_FOLDER, dir_fd=self.fd)
        return Folder(Path(name), inside=self)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file in this folder."""
        return open_regular(name, flags, dir_fd=self.fd, told=self.path / name)

    def names(self) -> list[str]:
        """What is in the folder, in the order of names."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))  # of its own: two threads that list one descriptor share the place in it
        finally:
            os.close(fd)

    def has(self, name: str) -> bool:
        """Whether there is anything of that name, be it a link to nowhere."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_size

    def read(self, name: str, most: int) -> bytes:
        """The whole of a file. Raises RunError if it has more than `most` bytes."""
        return read_regular(self.open(name), most, self.path / name)

    def write(self, name: str, pieces: Iterable[bytes | memoryview], at: str) -> None:
        """A new file, synced; an older one of this name is removed before. Failpoints are named after `at`."""
        failpoints.reached(f"{at}-before-open")
        self.remove(name)
        fd = self.open(name, _CREATE)
        try:
            failpoints.reached(f"{at}-opened")
            for piece in pieces:
                write_all(fd, piece)
                failpoints.reached(f"{at}-written")
            os.fsync(fd)
            failpoints.reached(f"{at}-synced")
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, at once or not at all."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a file if it is there; of a link the link, never its target."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return

    def sync(self) -> None:
        """Make names durable."""
        os.fsync(self.fd)

    def replace(self, name: str, data: bytes, at: str, *, durable: bool = True) -> None:
        """A file with this content, the old one until the new one is whole and synced."""
        part = f".{name}.part"
        self.write(part, [data], at) if durable else self._write_fast(part, data)
        self.rename(part, name)
        failpoints.reached(f"{at}-renamed")
        if durable:
            self.sync()
            failpoints.reached(f"{at}-folder-synced")

    def _write_fast(self, name: str, data: bytes) -> None:
        self.remove(name)
        fd = self.open(name, _CREATE)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)


def open_regular(path: str | Path, flags: int, *, dir_fd: int | None = None, told: Path | None = None) -> int:
    """A descriptor of a regular file, made for its owner alone. Raises RunError for a link, a device or a pipe."""
    told = told or Path(path)
    try:
        # Without O_NONBLOCK a pipe in the place of a file would be waited for.
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, PRIVATE_FILE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(f"{told} is a symbolic link; a run does not follow links out of its folder: "
                           "put the file itself in its place") from None
        if error.errno == errno.ENXIO:
            raise RunError(f"{told} is a pipe or a socket, not a file; move it away") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RunError(f"{told} is not a regular file; move it away")
    return fd


def read_regular(fd: int, most: int, told: Path) -> bytes:
    """All bytes of a descriptor, which is closed. Raises RunError if there are more than `most`."""
    with open(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise RunError(f"{told} has {size:,} bytes, more than the {most:,} that it can have; it is damaged or not "
                           "of this run")
        return file.read(most)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it: a full disk writes short first."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while len(view):
        count = os.write(fd, view[:BLOCK * 16])
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]


def make_private(path: Path) -> None:
    """A folder for its owner alone; those above it are made as usual. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    with Folder(path) as folder:
        folder.sync()
