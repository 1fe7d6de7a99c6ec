"""The real program in a real pseudo-terminal: keys typed into it, the screen read back, its process killed."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from tests.conftest import TINY
from tuitrain.protocol import events as e
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory, is_alive

pytestmark = pytest.mark.slow

SMALL = [f"--{k.replace('_', '-')}={v}" for k, v in TINY.items()] + ["--on-divergence=warn", "--clip=1"]
"""A text learned by heart in a few hundred steps is no healthy run; these tests are about other things."""
LIMIT = 90.0


class Terminal:
    """A program on a pseudo-terminal, and what a person would see."""

    def __init__(self, cwd: Path, *words: str, size: tuple[int, int] = (120, 40), controls: bool = False) -> None:
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen([sys.executable, "-m", "tuitrain", *words], cwd=cwd, stdin=theirs,
                                        stdout=theirs, stderr=theirs, start_new_session=True,
                                        env={**_without_size(), "TERM": "xterm-256color"},
                                        preexec_fn=_hear_its_terminal if controls else _hear_signals)
        self._theirs = theirs

    def until(self, condition: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            self._read(0.1)
            text = "\n".join(self.screen.display)
            if condition(text):
                return text
        raise AssertionError("\n".join(self.screen.display))

    def shows(self, words: str) -> str:
        return self.until(lambda text: words in text)

    def read(self) -> bool:
        """Take what has come, while another terminal is waited for."""
        self._read(0.0)
        return True

    def write_over(self, row: int, words: str) -> None:
        """Another program writes to the terminal."""
        self._stream.feed(f"\x1b[{row};1H{words}".encode())

    def looks_like(self, other: "Terminal", rows: slice) -> None:
        """Wait until both show the same paused run."""
        try:
            self.until(lambda text: "‖ paused" in text and other.read()
                       and self.screen.display[rows] == other.screen.display[rows])
        except AssertionError:
            apart = [two for two in zip(self.screen.display[rows], other.screen.display[rows], strict=True)
                     if two[0] != two[1]]
            raise AssertionError("\n".join(f"{ours}\n{theirs}" for ours, theirs in apart)) from None

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def ends(self) -> int:
        self.until(lambda _: self.process.poll() is not None)
        self._read(0.2)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)
            os.close(self._theirs)

    def vanish(self) -> None:
        """Both ends of the terminal are gone."""
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = self._theirs = -1

    def hang_up(self) -> None:
        """As a closed window or a broken line."""
        self.vanish()
        os.killpg(self.process.pid, signal.SIGHUP)

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def cook(self) -> None:
        """Set the terminal as a shell does once its job has stopped."""
        termios.tcsetattr(self._theirs, termios.TCSANOW, self.before)  # type: ignore[arg-type]

    def _read(self, timeout: float) -> None:
        if self._ours < 0:
            time.sleep(timeout)
            return
        while select.select([self._ours], [], [], timeout)[0]:
            data = os.read(self._ours, 65536)
            self.raw += data
            self._stream.feed(data)
            timeout = 0.0


def _without_size() -> dict[str, str]:
    """The environment without the size of the terminal that the tests run in, which would go before its own."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


def _hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _hear_its_terminal() -> None:
    _hear_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "book.txt").write_text("the quiet boat came home to the harbour at night. " * 400)
    yield tmp_path
    run = RunDirectory(tmp_path / "run")
    if is_alive(run):
        subprocess.run([sys.executable, "-m", "tuitrain", "send", "run", "stop"], cwd=tmp_path, check=False,
                       capture_output=True)
    deadline = time.monotonic() + LIMIT
    while is_alive(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(run)


def test_a_paused_run_looks_the_same_to_whoever_comes_late_or_back_and_can_be_drawn_again(book: Path) -> None:
    first = Terminal(book, "book.txt", "--run=run", *SMALL)
    late = again = None
    panes = slice(1, 33)  # not the log, which tells who came and went, and the first line with the memory in use
    try:
        first.shows("● running")
        first.shows("train ")
        first.press(" ")
        first.shows("‖ paused")
        first.press("s")
        first.shows("sample · T")
        late = Terminal(book, "attach", "run")
        late.looks_like(first, panes)

        late.write_over(12, "Broadcast message from root@harbour")
        late.press("\x0c")
        late.looks_like(first, panes)

        late.press("d")
        assert late.ends() == 0
        again = Terminal(book, "attach", "run")
        again.looks_like(first, panes)
    finally:
        for terminal in (first, late, again):
            if terminal is not None:
                terminal.close()


def changes(folder: Path, name: str) -> list[object]:
    return [x.new for x, _ in journal.read(folder / "run" / "journal.jsonl", kinds=(e.KnobChanged,))
            if isinstance(x, e.KnobChanged) and x.name == name]


def test_a_sitting_start_turn_detach_attach_be_killed_and_end(book: Path) -> None:
    first = Terminal(book, "book.txt", "--run=run", *SMALL)
    try:
        first.shows("starting")
        first.shows("● running")
        first.shows("train ")
        first.press("]")
        first.shows("clip 1.25")
        first.press("q")
        first.shows("detach: training goes on")
        first.press("\x1b")
        first.until(lambda text: "training goes on" not in text)
        first.press("d")
        assert first.ends() == 0
        assert b"\x1b[?1049l" in first.raw and first.settings() == first.before
    finally:
        first.close()
    run = RunDirectory(book / "run")
    assert is_alive(run) and changes(book, "clip") == [1.25]

    second = Terminal(book, "attach", "run", size=(80, 24))
    third = Terminal(book, "attach", "run", "--no-mouse", size=(120, 40))
    try:
        third.shows("clip 1.25")
        second.shows("clip 1.25")
        assert b"\x1b[?1000h" in second.raw and b"\x1b[?1000h" not in third.raw
        second.press("[")  # the two see each other's doings
        third.shows("clip 1 ")
        third.process.kill()
        second.press("-")
        second.until(lambda _: len(changes(book, "lr")) == 1)
        assert is_alive(run)
        second.press("q")
        second.shows("save and end")
        second.press("\x1b[B\x1b[B\r")
        second.shows("stopped at step")
        assert second.ends() == 0
    finally:
        second.close()
        third.close()


def test_a_killed_host_is_told_and_the_terminal_restored(book: Path) -> None:
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL)
    try:
        terminal.shows("● running")
        terminal.press("k")
        terminal.shows("checkpoint saved")
        [pid] = {int((book / "run" / "lock").read_text().split()[1])}
        os.kill(pid, signal.SIGKILL)
        terminal.shows("engine gone")
        told = terminal.shows("is gone, without a word")
        assert "last heard of at step" in told and "last checkpoint: step" in told
        assert "engine.log ends with" in told and "checkpoint" in told.split("engine.log ends with")[1]
        terminal.press("q")
        assert terminal.ends() == 0
        assert b"\x1b[?1049l" in terminal.raw and terminal.settings() == terminal.before
        assert b"is gone, see run/engine.log; continue with `tuitrain resume run`" in terminal.raw
    finally:
        terminal.close()
    again = Terminal(book, "resume", "run")
    try:
        again.shows("● running")  # although the killed one left its socket behind
    finally:
        again.close()


def test_a_killed_host_is_resumed_with_one_key_in_every_terminal(book: Path) -> None:
    first = Terminal(book, "book.txt", "--run=run", *SMALL)
    second = None
    try:
        first.shows("● running")
        second = Terminal(book, "attach", "run")
        second.shows("● running")
        first.press("k")
        first.shows("checkpoint saved")
        dead = holder(book)
        os.kill(dead, signal.SIGKILL)
        for terminal in (first, second):
            terminal.shows("is gone, without a word")
            terminal.press("\r")
        for terminal in (first, second):
            terminal.shows("● running")
            assert "is gone, without a word" not in "\n".join(terminal.screen.display)
        assert holder(book) != dead and is_alive(RunDirectory(book / "run"))
        first.press("]")  # it is the new process that answers
        second.shows("clip 1.25")
        for terminal in (first, second):
            terminal.press("d")
            assert terminal.ends() == 0
    finally:
        first.close()
        if second is not None:
            second.close()
    resumed = [x for x, _ in journal.read(book / "run" / "journal.jsonl", kinds=(e.RunResumed,))]
    assert len(resumed) == 1, "the second terminal joins what the first one started"


def here(folder: Path) -> Terminal:
    terminal = Terminal(folder, "book.txt", "--run=run", "--host=here", *SMALL)
    terminal.shows("● running")
    terminal.shows("train ")
    return terminal


def saved(folder: Path, by: str) -> bool:
    return any(isinstance(x, e.CheckpointSaved) and x.by == by
               for x, _ in journal.read(folder / "run" / "journal.jsonl", kinds=(e.CheckpointSaved,)))


def holder(folder: Path) -> int:
    return int((folder / "run" / "lock").read_text().split()[1])


def test_one_process_for_both_hands_over_when_left(book: Path) -> None:
    terminal = here(book)
    try:
        assert holder(book) == terminal.process.pid
        terminal.press("]")
        terminal.shows("clip 1.25")
        terminal.press("\x1a")
        terminal.shows("ctrl+z would stop it")
        terminal.press("d")
        terminal.shows("training goes on, pid")
        assert terminal.ends() == 0 and terminal.settings() == terminal.before
        assert holder(book) != terminal.process.pid and is_alive(RunDirectory(book / "run"))
    finally:
        terminal.close()
    told = [event for event, _ in journal.read(book / "run" / "journal.jsonl", kinds=(e.RunEnded, e.RunResumed))]
    assert isinstance(told[0], e.RunEnded) and isinstance(told[1], e.RunResumed)
    assert told[0].reason == "handed over" and told[1].step == told[0].step and told[1].exact


def test_one_process_for_both_goes_on_when_the_terminal_hangs_up(book: Path) -> None:
    terminal = here(book)
    run = RunDirectory(book / "run")
    try:
        terminal.hang_up()
        terminal.until(lambda _: "the terminal hung up" in run.log.read_text())
        assert holder(book) == terminal.process.pid and is_alive(run)
        terminal.until(lambda _: saved(book, "SIGHUP"))  # first of all what there is so far is put on disk
        before = run.journal.stat().st_size
        terminal.until(lambda _: run.journal.stat().st_size > before)
        assert terminal.process.poll() is None
        os.kill(terminal.process.pid, signal.SIGTERM)
        terminal.until(lambda _: terminal.process.poll() is not None)
        assert terminal.process.returncode == 143
    finally:
        terminal.close()
    ended = [event for event, _ in journal.read(run.journal, kinds=(e.RunEnded,))]
    assert [x.reason for x in ended if isinstance(x, e.RunEnded)] == ["terminated"]
    assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize("words", [[], ["--host=here"]])
def test_a_terminated_cockpit_restores_the_terminal(book: Path, words: list[str]) -> None:
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL, *words)
    try:
        terminal.shows("● running")
        os.kill(terminal.process.pid, signal.SIGTERM)
        assert terminal.ends() == 143
        assert b"\x1b[?1049l" in terminal.raw and terminal.settings() == terminal.before
        assert is_alive(RunDirectory(book / "run")) != bool(words)  # where it trains itself, the run ends with it
    finally:
        terminal.close()


def test_a_mistake_is_told_after_the_screen_closed(book: Path) -> None:
    (book / "run").mkdir()
    (book / "run" / "config.json").write_text("{}")
    terminal = Terminal(book, "book.txt", "--run=run")
    try:
        assert terminal.ends() == 1
        assert b"is a run already" in terminal.raw and b"Traceback" not in terminal.raw
    finally:
        terminal.close()


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_signals_to_go_on_that_nobody_stopped_leave_nothing_behind(book: Path) -> None:
    """Each of them used to start a thread that outlived the cockpit, and the process waited for it for ever."""
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL)
    try:
        terminal.shows("● running")
        before = threads(terminal.process.pid)
        for _ in range(20):
            terminal.process.send_signal(signal.SIGCONT)
            terminal.until(lambda _: True)
        terminal.press("]")
        terminal.shows("clip 1.25")  # all signals have been handled by now
        assert threads(terminal.process.pid) <= before + 2
        terminal.press("d")
        assert terminal.ends() == 0 and terminal.settings() == terminal.before
    finally:
        terminal.close()


def test_a_cockpit_that_was_stopped_draws_itself_again(book: Path) -> None:
    """By ctrl+z, and by SIGSTOP, after which the shell gives the terminal back as it wants it."""
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL)
    try:
        terminal.shows("● running")
        for number in (signal.SIGTSTP, signal.SIGSTOP):
            terminal.process.send_signal(number)
            terminal.until(lambda _: Path(f"/proc/{terminal.process.pid}/stat").read_text().split(") ")[1][0] == "T")
            terminal.cook()
            terminal.screen.reset()
            terminal.process.send_signal(signal.SIGCONT)
            terminal.shows("● running")
        terminal.press("]")
        terminal.shows("clip 1.25")
        terminal.press("d")
        assert terminal.ends() == 0
    finally:
        terminal.close()


def test_a_terminal_that_the_kernel_takes_away_leaves_no_cockpit_behind(book: Path) -> None:
    """As sshd and tmux do it: the controlling terminal goes, with SIGHUP and SIGCONT, in the middle of writing."""
    terminal = Terminal(book, "book.txt", "--run=run", *SMALL, controls=True)
    try:
        terminal.shows("● running")
        terminal.vanish()
        deadline = time.monotonic() + LIMIT
        while terminal.process.poll() is None and time.monotonic() < deadline:
            terminal.process.send_signal(signal.SIGCONT)  # as often as the kernel's one may come at a bad moment
            time.sleep(0.01)
        assert terminal.process.poll() == 128 + signal.SIGHUP and is_alive(RunDirectory(book / "run"))
    finally:
        terminal.close()
