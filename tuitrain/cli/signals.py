"""Handles signals: a run saves and ends with an exit code from which a job script knows whether to resume it.

    SIGINT             130   ctrl+c
    SIGQUIT            131   ctrl+\\
    SIGTERM, SIGHUP    143   termination, perhaps for good (scancel)
    SIGUSR1, SIGUSR2   75    a batch system's warning that time is nearly up (SIGXCPU: CPU time): resume
"""

import contextlib
import os
import signal
from types import FrameType
from typing import Protocol

from tuitrain.errors import INTERRUPTED, OUT_OF_TIME, QUIT, TERMINATED
from tuitrain.protocol.commands import Command, Stop

OUT_OF_TIME_WORDS = "out of time"
ENDINGS: dict[signal.Signals, tuple[str, int]] = {
    signal.SIGINT: ("interrupted", INTERRUPTED),
    signal.SIGQUIT: ("quit", QUIT),
    signal.SIGTERM: ("terminated", TERMINATED),
    signal.SIGHUP: ("terminated", TERMINATED),
    signal.SIGUSR1: (OUT_OF_TIME_WORDS, OUT_OF_TIME),
    signal.SIGUSR2: (OUT_OF_TIME_WORDS, OUT_OF_TIME),
    signal.SIGXCPU: (OUT_OF_TIME_WORDS, OUT_OF_TIME),
}
PRESSED = (signal.SIGINT, signal.SIGQUIT)
"""Signals of keys that a person may press a second time when the end takes too long."""


class Sink(Protocol):
    """Anything that takes commands."""

    def send(self, command: Command) -> None: ...


class EndedEarly(BaseException):
    """A signal arrived before there was a run that could save."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = ENDINGS[signal.Signals(number)][1]


def before_training() -> None:
    """Let each of these signals end the program with a message and its exit code, until a run installs its handlers."""
    for number in ENDINGS:
        if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _too_early)


class Signals:
    """Signal handlers of a run: the first saves and stops at the next step, a second ctrl+c or ctrl+\\ exits at once.

    Other signals after the first are ignored: batch systems send theirs twice, to the job and to its step. SIGKILL
    remains for those who cannot wait; it loses nothing that is on disk.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._asked = False

    def install(self, *numbers: signal.Signals) -> None:
        """Handle these signals, or all; one that the parent process ignored (nohup) stays ignored."""
        for number in numbers or ENDINGS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.received)

    def received(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal."""
        if not self._asked:
            self._asked = True
            reason, code = ENDINGS[signal.Signals(number)]
            self._sink.send(Stop(id="signal", by=signal.Signals(number).name, reason=reason, exit_code=code))
        elif number in PRESSED:
            with contextlib.suppress(OSError):
                os.write(2, b"\ntuitrain: leaving at once; the last checkpoint on disk is intact\n")
            os._exit(ENDINGS[signal.Signals(number)][1])


def out_of_time(sink: Sink) -> None:
    """Save and end because the time limit has passed; the timer is monotonic, so setting the clock does not matter."""
    sink.send(Stop(id="limit", by="limit", reason=OUT_OF_TIME_WORDS, exit_code=OUT_OF_TIME))


def _too_early(number: int, frame: FrameType | None) -> None:
    raise EndedEarly(number)
