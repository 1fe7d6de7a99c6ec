"""Runs a program in a pseudo-terminal and counts its output, read as fast as it comes. Knows nothing of the program."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from pathlib import Path

COLUMNS, ROWS = 120, 40


class Terminal:
    """A running command; `bytes` counts its output so far."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"})
        os.close(theirs)
        self.bytes = 0
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds used so far; nan where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def close(self) -> None:
        """Wait until the program has ended."""
        self.process.wait()
        self._reader.join(1.0)
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the program has ended
            while data := os.read(self._ours, 1 << 16):
                self.bytes += len(data)
