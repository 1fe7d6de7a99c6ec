"""Textual's terminal driver, made safe against SIGCONT that comes when nothing was suspended."""

import termios
import tty
from typing import Any

from textual.drivers.linux_driver import LinuxDriver


class Driver(LinuxDriver):
    """Resumes only a cockpit that was suspended, and only once.

    Textual takes every SIGCONT for a return to the foreground and starts another writer thread each time. The earlier
    ones are never stopped, and the process waits for them for ever when it ends. Kernels send SIGCONT with each
    hang-up, batch systems with SIGTERM.
    """

    _resuming = False

    def _sigcont_application(self, *_: Any) -> None:
        # By ctrl+z; SIGSTOP leaves no trace but what the shell does to the terminal.
        suspended = self._must_signal_resume
        if self._resuming or not (suspended or self._is_cooked()):
            return
        self._resuming = True
        try:
            if not suspended:
                self.suspend_application_mode()
            super()._sigcont_application()
        finally:
            self._resuming = False

    def _is_cooked(self) -> bool:
        """Whether somebody else has set the terminal to read whole lines."""
        try:
            return bool(termios.tcgetattr(self.fileno)[tty.LFLAG] & termios.ICANON)
        except termios.error:
            return False
