"""A program in a pseudo-terminal, its output read as fast as it comes and counted. Knows nothing of what it is."""

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
    """Starts the command; `bytes` counts what it has written."""

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
        """Processor time of the program so far; nan where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def close(self) -> None:
        """Wait for the program's end."""
        self.process.wait()
        self._reader.join(1.0)
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the far end has gone
            while data := os.read(self._ours, 1 << 16):
                self.bytes += len(data)
