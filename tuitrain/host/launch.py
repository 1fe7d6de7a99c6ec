"""Starts a host: the same program, headless, in a session of its own that no terminal can end."""

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
    """Run `tuitrain ARGUMENTS` as `launch_command` runs a command."""
    return launch_command([sys.executable, "-m", "tuitrain", *arguments], run)


def launch_command(command: Sequence[str], run: RunDirectory, *, environment: Mapping[str, str] | None = None,
                   patience: float = PATIENCE) -> int:
    """Run a command detached, output to the run's engine.log; its pid, once its socket is there.

    Raises TuitrainError with the host's own last line if it ends before that.
    """
    stale = _made(run)  # a host that was killed leaves its socket behind
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
        if _made(run) not in (None, stale):
            return host.pid
        time.sleep(0.05)
    raise TuitrainError(f"the host (pid {host.pid}) did not open its socket within {patience:.0f} s; see {run.log}")


def _made(run: RunDirectory) -> tuple[int, int] | None:
    """Which socket there is, if any."""
    try:
        found = run.socket.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
