"""A folder held open, and access to the regular files in it, never through links. Knows no formats.

Everything goes through the folder's descriptor: a process keeps writing into the folder that it opened even if the
path now names another one, and a link inside cannot lead out of it.
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
"""Modes of what a run writes: accessible to its owner only."""
BLOCK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Folder:
    """An open folder. Methods raise OSError when the disk fails and RunError for a link or a device."""

    def __init__(self, path: Path, *, inside: "Folder | None" = None) -> None:
        """Open any path, or, `inside` an open folder, a plain name that may not be a link."""
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
        """Close the descriptor; closing twice does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def gone(self) -> bool:
        """Whether the path no longer names this folder: it was removed, moved or replaced."""
        if self.fd < 0:
            return False
        try:
            there = os.stat(self.path)
        except OSError:
            return True
        here = os.fstat(self.fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def inner(self, name: str) -> "Folder":
        """Open a subfolder, created for its owner only if missing. Raises RunError if it is a link."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PRIVATE_FOLDER, dir_fd=self.fd)
        return Folder(Path(name), inside=self)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Return a descriptor of a regular file in this folder."""
        return open_regular(name, flags, dir_fd=self.fd, shown=self.path / name)

    def names(self) -> list[str]:
        """Return the names of the entries, sorted."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))  # its own descriptor: threads listing a shared one would share its position
        finally:
            os.close(fd)

    def has(self, name: str) -> bool:
        """Whether there is an entry of that name, even a dangling link."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_size

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file. Raises RunError if it has more than `most` bytes."""
        return read_regular(self.open(name), most, self.path / name)

    def write(self, name: str, pieces: Iterable[bytes | memoryview], at: str) -> None:
        """Write a new file and sync it; an existing one is removed first. Failpoints are named after `at`."""
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
        """Rename a file atomically."""
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, old: str, new: str) -> None:
        """Create a hard link to a file."""
        os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a file if it exists; of a link the link itself, never its target."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return

    def sync(self) -> None:
        """Make the folder's entries durable."""
        os.fsync(self.fd)

    def replace(self, name: str, data: bytes, at: str, *, durable: bool = True) -> None:
        """Replace a file atomically: the old content stays until the new file is complete and synced."""
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


def open_regular(path: str | Path, flags: int, *, dir_fd: int | None = None, shown: Path | None = None) -> int:
    """Open a regular file, created for its owner only, and return its descriptor.

    Raises RunError for a link, a device or a pipe; `shown` is the path that its message names.
    """
    shown = shown or Path(path)
    try:
        # Without O_NONBLOCK, opening a pipe in place of a file would block.
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, PRIVATE_FILE, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunError(f"{shown} is a symbolic link; a run does not follow links out of its folder: "
                           "put the file itself in its place") from None
        if error.errno == errno.ENXIO:
            raise RunError(f"{shown} is a pipe or a socket, not a file; move it away") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RunError(f"{shown} is not a regular file; move it away")
    return fd


def read_regular(fd: int, most: int, shown: Path) -> bytes:
    """Return all bytes of a descriptor and close it. Raises RunError, naming `shown`, if there are more than `most`."""
    with open(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise RunError(f"{shown} has {size:,} bytes, more than the {most:,} that it can have; it is damaged or "
                           "belongs to another run")
        return file.read(most)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all the data: on a full disk os.write first writes only a part."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while len(view):
        count = os.write(fd, view[:BLOCK * 16])
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[count:]


def make_private(path: Path) -> None:
    """Create a folder for its owner only; its parents get the usual mode. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    with Folder(path) as folder:
        folder.sync()
