"""How long it takes to see a long run: from `tuitrain attach` to the first full picture, here and over ssh.

The full picture is what is there at the end, in every cell: the run is paused, and nothing of it names a clock.
"""

import contextlib
import fcntl
import os
import pty
import random
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyte

from tests.faults.campaign import PATIENCE, ROOT, Process, Row, sshd, wait_for
from tests.faults.long_run import TRAINED, long_run
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e

STEPS = 200_000
SIZES = ((120, 40), (80, 24))
LIMIT = 1.0
"""Seconds within which the picture must be there, after the login, on a machine with nothing else to do."""
QUIET = 2.5
"""Seconds without a byte after which a paused run's picture is the last one: its slowest pane has had its turn."""
BARE = "import textual.app, textual.screen, textual.widgets, numpy"
"""What any such screen imports."""


def attach(times: int, folder: Path, rng: random.Random, *, steps: int = STEPS, trained: int = TRAINED,
           sizes: Sequence[tuple[int, int]] = SIZES, limit: float = LIMIT) -> Row:
    """Attach so often at each size, with and without ssh, to a paused run of so many steps."""
    row = Row("attach", f"to a paused run of {steps:,} steps, until every cell is as it stays")
    run = long_run(folder / "run", steps, trained)
    process = Process.resumed(run.path, f"--steps={100 * steps}")
    with contextlib.closing(process.session()) as session:
        session.send(c.Pause(id="pause", by="campaign"))
        wait_for(lambda: any(isinstance(event, e.Paused) for event in session.drain(0.05)), "the pause")
        command = f"cd {ROOT} && exec {sys.executable} -m tuitrain attach {run.path}"
        told = [f"Python with Textual and numpy {_lasts([sys.executable, '-c', BARE]):.2f} s"]
        for size in sizes:
            told.append(_measured(row, "local", size, [_seconds(["sh", "-c", command], size) for _ in range(times)],
                                  limit))
        with contextlib.suppress(FileNotFoundError), sshd(folder / "ssh") as ssh:
            login = _lasts(ssh.words("true"))
            limit += login
            told.append(f"login by ssh {login:.2f} s")
            for size in sizes:
                told.append(_measured(row, "ssh", size, [_seconds(ssh.words(command), size) for _ in range(times)],
                                      limit))
        row.remark = ", ".join(told)
    row.expect(process.end() == 143, f"the run does not end well: {process.tail()}")
    return row


def _measured(row: Row, way: str, size: tuple[int, int], seconds: list[float], limit: float) -> str:
    row.times += len(seconds)
    middle = sorted(seconds)[len(seconds) // 2]
    row.expect(middle <= limit, f"{way} at {size[0]}x{size[1]}: {middle:.2f} s")
    return f"{way} {size[0]}x{size[1]} {middle:.2f} s (most {max(seconds):.2f})"


def _lasts(command: list[str]) -> float:
    """Seconds that a command takes."""
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def _seconds(command: list[str], size: tuple[int, int]) -> float:
    """Seconds from the start of a command to its full picture. Raises AssertionError if none comes."""
    began = time.monotonic()
    with _terminal(command, size) as (process, far):
        written: list[tuple[float, bytes]] = []
        while not written or time.monotonic() - written[-1][0] < QUIET or len(written) < 3:
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                raise AssertionError(f"no picture: {b''.join(data for _, data in written)[-200:]!r}")
            if select.select([far], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    written.append((time.monotonic(), far.read(1 << 16)))
    return _completed(written, size) - began


def _completed(written: list[tuple[float, bytes]], size: tuple[int, int]) -> float:
    """When the screen became what it is at the end."""
    last = pyte.Screen(*size)
    pyte.ByteStream(last).feed(b"".join(data for _, data in written))
    screen = pyte.Screen(*size)
    stream, complete = pyte.ByteStream(screen), 0.0
    for when, data in written:
        stream.feed(data)
        if screen.buffer != last.buffer:
            complete = 0.0
        elif not complete:
            complete = when
    return complete


@contextlib.contextmanager
def _terminal(command: list[str], size: tuple[int, int]) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               env={**os.environ, "TERM": "xterm-256color"})
    os.close(theirs)
    with open(ours, "rb", buffering=0) as far:
        try:
            yield process, far
        finally:
            process.kill()
            process.wait()
