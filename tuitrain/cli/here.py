"""Runs the cockpit and the training in one process (`--host here`).

The cockpit draws on the terminal, while output of C++ libraries and stray prints goes to the run's engine.log. The
training outlives its cockpit: it is handed to a process of its own when the person leaves, and goes on headless in this
one when the terminal hangs up.
"""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future

from tuitrain.cli.screen import Screen
from tuitrain.cli.serve import WorkerHost, exit_code, print_to_the_end
from tuitrain.cli.signals import Signals
from tuitrain.errors import RunError
from tuitrain.headless import PlainOutput
from tuitrain.host.launch import launch
from tuitrain.protocol import askers
from tuitrain.protocol.commands import Command, SaveCheckpoint, Stop
from tuitrain.protocol.events import Event, RunEnded
from tuitrain.recording.past import Past
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.session import Session

HANDED_OVER = "handed over"
SWITCH = 0.0005
"""Thread switch interval in seconds; with Python's 5 ms, training is up to a third slower."""


class LocalSession(Session):
    """A session with a host in this process.

    If the cockpit could not draw for so long that its feed lost events (a terminal stopped with ctrl+s overnight), the
    state is read anew from the journal.
    """

    connection = "live"

    def __init__(self, host: WorkerHost) -> None:
        self._host, self._feed, self._lost = host, host.feed, 0
        self.state = host.past
        self.resynchronised = 0
        self.ended: RunEnded | None = None
        self.closed = False

    def send(self, command: Command) -> None:
        """Send a command to the engine. Raises RunError once the run has ended."""
        if self.ended is not None:
            raise RunError("the run has ended")
        self._feed.send(command)

    def drain_timed(self, timeout: float = 0.0) -> list[tuple[Event, float]]:
        """Return the events since the last call, each with its Unix time."""
        self.closed = self.ended is not None
        events = self._feed.drain_timed(timeout)
        for event, _ in events:
            if isinstance(event, RunEnded):
                self.ended = event
        if self._feed.lost != self._lost:
            self._lost = self._feed.lost
            self.state = Past(self._host.run).state
            self.resynchronised += 1
            return []
        return events

    def close(self) -> None:
        """Do nothing: the feed is still needed after the cockpit has closed."""


class Capture:
    """Redirects descriptors 1 and 2 to engine.log, while the cockpit keeps the terminal through duplicates.

    Textual draws on `sys.__stderr__` and asks `sys.__stdout__` for the size, so these are rebound before it is
    imported; descriptor 0 stays the terminal until it hangs up.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._before = sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr
        self._terminal = [os.dup(1), os.dup(2)]
        log = run.open_log()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        self._streams = [_stream(os.dup(fd)) for fd in self._terminal]
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]

    def release(self) -> None:
        """Restore the terminal on descriptors 1 and 2."""
        sys.stdout.flush()
        sys.stderr.flush()
        for number, fd in enumerate(self._terminal, 1):
            os.dup2(fd, number)
        self.forget()

    def forget(self) -> None:
        """Give up a terminal that hung up: everything printed from now on goes to engine.log."""
        sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr = self._before  # type: ignore[misc]
        for fd in self._terminal:
            os.close(fd)
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()


class _Terminal(io.TextIOWrapper):
    """A stream to a terminal that may hang up; later writes are dropped without an error."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def _stream(fd: int) -> _Terminal:
    return _Terminal(os.fdopen(fd, "wb"), encoding=sys.stderr.encoding, errors=sys.stderr.errors)


class Here:
    """One session of the cockpit; starts the host once it is shown, and ends or hands over the run afterwards."""

    def __init__(self, run: RunDirectory, begin: Callable[[], WorkerHost], corpus: str | None = None, *,
                 mouse: bool = True) -> None:
        self._run, self._begin, self._corpus, self._mouse = run, begin, corpus, mouse
        self._host: Future[WorkerHost] = Future()
        self._session: LocalSession | None = None

    def show(self) -> int:
        """Show the cockpit, then end or hand over the run; returns the exit code."""
        # Drawing may hold the interpreter for this long while the training waits to start its next operation.
        sys.setswitchinterval(SWITCH)
        captured = Capture(self._run)
        screen = Screen(self._run, self._connect, here=True, mouse=self._mouse)
        try:
            screen.run()
        finally:
            if screen.signal == signal.SIGHUP:
                captured.forget()
            else:
                captured.release()
        if not screen.connecting:
            return screen.exit_code
        host = self._host.result()  # if the cockpit was left while torch was loading, the run starts all the same
        if self._session is not None and self._session.ended is not None:
            host.wait()
            print(screen.farewell(), file=sys.stderr)
            return exit_code(self._session.ended, self._run)
        if screen.signal == signal.SIGHUP:
            return self._go_on_headless(host)
        if screen.signal is not None:
            return self._end(host, screen.signal)
        if screen.crashed:
            print("tuitrain: the cockpit failed", file=sys.stderr)
        self._hand_over(host)
        return int(screen.crashed)

    def _connect(self) -> LocalSession:
        try:
            host = self._begin()
            host.worker.watched(True)
            host.start()
        except BaseException as error:
            self._host.set_exception(error)
            raise
        self._session = LocalSession(host)
        self._host.set_result(host)
        return self._session

    def _go_on_headless(self, host: WorkerHost) -> int:
        """Train on in this process without a cockpit, with its output in engine.log; returns the exit code."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        host.worker.watched(False)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        host.worker.send(SaveCheckpoint(id="hangup", by="SIGHUP"))  # nobody may be there to see what comes next
        Signals(host.worker).install()
        print("tuitrain: the terminal hung up; training goes on without it")
        return print_to_the_end(host, self._lines(host))

    def _end(self, host: WorkerHost, number: int) -> int:
        ending = Signals(host.worker)
        ending.install()
        ending.received(number)
        return print_to_the_end(host, self._lines(host))

    def _hand_over(self, host: WorkerHost) -> None:
        """Save and end the run here, then resume it exactly there in a process of its own."""
        print("tuitrain: handing the run over to a process of its own", file=sys.stderr)
        host.worker.send(Stop(id="detach", by=askers.PERSON, reason=HANDED_OVER))
        host.wait()
        corpus = [f"--corpus={self._corpus}"] if self._corpus else []
        pid = launch(["resume", "--no-ui", *corpus, "--", str(self._run.path)], self._run)
        print(f"tuitrain: training goes on, pid {pid}; come back with `tuitrain attach {self._run.path}`",
              file=sys.stderr)

    def _lines(self, host: WorkerHost) -> PlainOutput:
        lines = PlainOutput(sys.stdout, str(self._run.path))
        lines.state = host.past if self._session is None else self._session.state
        return lines
