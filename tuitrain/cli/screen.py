"""Opens the cockpit on a run; the only module that knows both the cockpit and how to connect to a run."""

import argparse
import contextlib
import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from tuitrain.cli.signals import ENDINGS
from tuitrain.errors import ERROR, RunError, TuitrainError
from tuitrain.protocol import askers
from tuitrain.run.directory import RunDirectory, is_alive
from tuitrain.telemetry.glossary import HINT

if TYPE_CHECKING:
    from tuitrain.telemetry.session import Session

HOSTS = ("process", "here")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the cockpit."""
    parser.add_argument("--no-ui", action="store_true", help="plain lines instead of the cockpit")
    parser.add_argument("--no-mouse", dest="mouse", action="store_false",
                        help="leave the mouse to the terminal")


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a run is trained and what it prints."""
    parser.add_argument("--json", action="store_true", help="with --no-ui: the journal's lines on standard output")
    parser.add_argument("--host", choices=HOSTS, metavar="WHERE", default=HOSTS[0],
                        help="train in an own process (process) or here (here)")


def has_screen() -> bool:
    """Return whether all three streams are terminals, and not dumb ones. Textual draws on standard error."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(s is not None and s.isatty() for s in streams) and os.environ.get("TERM", "dumb") != "dumb"


def draws_braille() -> bool:
    """Return whether the terminal can show the characters of the plots; a Linux console lacks them in its font."""
    if os.environ.get("TERM") == "linux":
        return False
    try:
        "⣿╌█◇".encode(getattr(sys.__stderr__, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def first_time() -> bool:
    """Return True the first time this person opens a cockpit, and remember it."""
    import platformdirs

    mark = platformdirs.user_state_path("tuitrain", appauthor=False) / "greeted"
    try:
        if mark.exists():
            return False
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return False  # nothing can be remembered, so the greeting would come every time
    return True


class Vanishing:
    """A terminal's stream that may go away; later writes are dropped without an error.

    Textual writes in a thread; an error would end that thread, and the cockpit would wait for it for ever. Sends only
    those parts of the screen that have changed.
    """

    def __init__(self, stream: TextIO) -> None:
        from tuitrain.ui.delta import Delta

        self._stream = stream
        self.delta = Delta()
        self.behind = False
        """Whether a frame is still being written; drawing another now would only delay it."""

    def write(self, text: str) -> int:
        """Write the changed parts of a frame; returns the length of the text."""
        self.behind = True
        with contextlib.suppress(OSError):  # also if the size of a terminal that is gone is read
            size = os.get_terminal_size(self._stream.fileno())
            self._stream.write(self.delta.reduce(text, (size.lines, size.columns)))
        return len(text)

    def flush(self) -> None:
        """Flush; Textual calls this when it has nothing left to write."""
        with contextlib.suppress(OSError):
            self._stream.flush()
        self.behind = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Screen:
    """One session of the cockpit; after `run`, `crashed`, `signal` and `exit_code` say how it ended."""

    def __init__(self, run: RunDirectory, connect: Callable[[], "Session"], *, here: bool = False,
                 mouse: bool = True, greets: bool = True, resume: Callable[[], "Session"] | None = None,
                 at_once: bool = False) -> None:
        from tuitrain.ui.app import CockpitApp

        self._run, self._connect, self._mouse = run, connect, mouse
        self.connecting = False
        self.signal: int | None = None
        self._app = CockpitApp(run.path, self._joined, braille=draws_braille(), here=here, resume=resume,
                               at_once=at_once,
                               hint="\n".join(HINT) if greets and first_time() else "")

    @property
    def crashed(self) -> bool:
        """Whether the cockpit failed by a bug of its own, not because it could not connect."""
        return self._app.failure is None and self._app.return_code == ERROR

    @property
    def exit_code(self) -> int:
        """The exit code for the shell: 128 plus the signal that ended the cockpit, else the cockpit's own."""
        return 128 + self.signal if self.signal is not None else int(self._app.return_code or 0)

    def run(self) -> None:
        """Show the cockpit until the person leaves or a signal ends it.

        Raises the error that kept it from connecting.
        """
        from asyncio import CancelledError  # Textual has imported it by now; the plain commands do without

        numbers = [n for n in ENDINGS if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._received) for number in numbers}
        stream = sys.__stderr__
        terminal = Vanishing(stream)  # type: ignore[arg-type]
        sys.__stderr__ = terminal  # type: ignore[misc,assignment]
        self._app.behind = lambda: terminal.behind
        self._app.forget_screen = terminal.delta.forget
        try:
            self._app.run(mouse=self._mouse)
        except (OSError, termios.error, CancelledError):
            # A terminal that is taken away in the middle of an exit: Textual fails to restore it, or is cancelled in
            # its last steps.
            if self.signal is None:
                raise
        finally:
            sys.__stderr__ = stream  # type: ignore[misc]
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._app.session is not None:
                self._app.session.close()
        if self._app.failure is not None:
            raise self._app.failure

    def farewell(self) -> str:
        """Return the line to print after the screen has closed: the state of the run, and how to come back."""
        alive, state = is_alive(self._run), self._app.state
        if self.crashed:
            return f"tuitrain: the cockpit failed; {self._comeback() if alive else 'training is not running'}"
        if state.status == "ended":  # its process may hold the lock for another moment
            return f"tuitrain: {state.ended} at step {state.step:,}; {self._how_to_continue()}"
        if alive or (self.connecting and self._app.session is None):
            return f"tuitrain: {self._comeback()}"
        return (f"tuitrain: the process that trained {self._run.path} is gone, see {self._run.log}; "
                f"{self._how_to_continue()}")

    def _how_to_continue(self) -> str:
        script = self._app.state.capabilities.resumes
        return f"to continue, {script}" if script else f"continue with `tuitrain resume {self._run.path}`"

    def _comeback(self) -> str:
        return f"training goes on; come back with `tuitrain attach {self._run.path}`"

    def _joined(self) -> "Session":
        self.connecting = True
        return self._connect()

    def _received(self, number: int, frame: FrameType | None) -> None:
        # The terminal is restored before the process ends, or is left alone if it has hung up.
        self.signal = number
        self._app.leaving = True
        if number == signal.SIGHUP:
            # On a hangup the kernel also sends SIGCONT, which Textual would take for a return to the foreground.
            signal.signal(signal.SIGCONT, lambda *_: None)


def show(run: RunDirectory, connect: Callable[[], "Session"], *, mouse: bool = True, corpus: str | None = None,
         goes_on: bool = True, at_once: bool = False) -> int:
    """Show the cockpit on a run of another process until the person leaves; returns the exit code.

    If that process dies, the cockpit offers to resume the run, if `goes_on`. `corpus` is the path of the text, if the
    run has no copy. `at_once` says that connecting takes no time.
    """
    screen = Screen(run, connect, mouse=mouse, resume=(lambda: _rejoin(run, corpus)) if goes_on else None,
                    at_once=at_once)
    screen.run()
    words = screen.farewell()
    if words and screen.signal != signal.SIGHUP:
        print(words, file=sys.stderr)
    return screen.exit_code


def _rejoin(run: RunDirectory, corpus: str | None) -> "Session":
    """Resume the run and return a session; if another terminal has resumed it already, connect to that process."""
    from tuitrain.host.client import SocketSession
    from tuitrain.host.launch import PATIENCE, launch

    if not is_alive(run):
        try:
            launch(["resume", "--no-ui", *([f"--corpus={corpus}"] if corpus else []), "--", str(run.path)], run)
        except TuitrainError:
            if not is_alive(run):
                raise
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return SocketSession(run, watch=True, by=askers.PERSON)
        except RunError:  # the process that another terminal started has not opened its socket yet
            if not is_alive(run) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
