"""Starts a host: this program without a screen, in a session of its own that no terminal can end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tuitrain.errors import TuitrainError
from tuitrain.run.directory import RunDirectory

PATIENCE = 120.0


def launch(arguments: Sequence[str], run: RunDirectory) -> int:
    """Run `tuitrain ARGUMENTS` detached; see `launch_command`."""
    return launch_command([sys.executable, "-m", "tuitrain", *arguments], run)


def launch_command(command: Sequence[str], run: RunDirectory, *, environment: Mapping[str, str] | None = None,
                   patience: float = PATIENCE) -> int:
    """Run a command detached, with its output in the run's engine.log; return its pid once its socket exists.

    Raises TuitrainError with the host's last line if it exits first, or if `patience` seconds pass.
    """
    stale = _socket_identity(run)  # a host that was killed leaves its socket behind
    with open(run.open_log(), "ab") as log:
        before = os.fstat(log.fileno()).st_size
        host = subprocess.Popen(
            list(command), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=_ignore_hangup)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if host.poll() is not None:
            with open(run.log, errors="replace") as text:
                text.seek(before)
                lines = text.read().strip().splitlines()
            last = lines[-1].removeprefix("tuitrain: ") if lines else ""
            raise TuitrainError(last or f"the host ended with exit code {host.returncode}")
        if _socket_identity(run) not in (None, stale):
            return host.pid
        time.sleep(0.05)
    raise TuitrainError(f"the host (pid {host.pid}) did not open its socket within {patience:.0f} s; see {run.log}")


def _socket_identity(run: RunDirectory) -> tuple[int, int] | None:
    """Return inode and change time of the run's socket, or None if there is none."""
    try:
        found = run.socket.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
