"""The dialog for a run whose process is gone: what is known of it, and a key to resume it. Starts nothing itself."""

import os
import stat
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Label, Static

from tuitrain.run.directory import RunDirectory, is_alive
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import duration, safe
from tuitrain.ui.dialogs import Dialog

LINES, BYTES = 6, 8192
"""Number of lines shown, and of bytes read, from the end of engine.log."""


class EngineGone(Dialog[str]):
    """The dialog; answers `resume` or `leave`; escape closes it to look at the panes."""

    BINDINGS: ClassVar = [Binding("enter", "answer('resume')", "resume"), Binding("q", "answer('leave')", "leave")]

    def __init__(self, run: Path, state: RunState, ago: float) -> None:
        super().__init__()
        self._known = known(RunDirectory(run), state, ago)
        self._log = log_tail(RunDirectory(run).log)

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        title, *rest = self._known
        with Vertical(classes="dialog wide"):
            yield Label(title, classes="title", markup=False)
            for line in rest:
                yield Label(line, markup=False)
            if self._log:
                yield Label("\nengine.log ends with", markup=False)
                yield Static(Text("\n".join(self._log), no_wrap=True, overflow="ellipsis"), classes="hint")
            yield Label("\nenter goes on with the run · escape looks at what there is · q leaves", markup=False)

    def action_answer(self, answer: str) -> None:
        """Answer `resume` or `leave`."""
        self.dismiss(answer)


def known(run: RunDirectory, state: RunState, ago: float) -> list[str]:
    """Return lines on what happened, the step `ago` seconds ago, and what is on disk."""
    name = safe(str(run.path))
    if is_alive(run):
        return [f"the connection to {name} broke; its process still trains it"]
    if state.status == "ended":
        event = f"{name} {safe(state.ended)}"
    else:
        event = f"the process that trained {name} is gone, without a word: killed, or out of memory"
    last = state.story.last_saved
    lines = [event, f"last heard of at step {state.step:,}, {duration(ago)} ago"]
    if last is None:
        lines.append("no checkpoint was heard of; if there is none on disk it has to start anew")
    else:
        lines.append(f"last checkpoint: step {last.step:,} on branch {last.branch}" + (
            f", {state.step - last.step:,} steps before that" if state.step - last.step > 0
            and last.branch == state.branch else ""))
    return lines


def log_tail(path: Path) -> list[str]:
    """Return the last lines of a log without anything that a terminal obeys; none if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return []
        file.seek(max(0, found.st_size - BYTES))
        text = file.read(BYTES).decode(errors="replace")
    return [safe(line) for line in text.splitlines() if line.strip()][-LINES:]


class LogTail:
    """Follows engine.log while a host is starting."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = self._now()

    def news(self) -> str:
        """Return the last line if the log has grown since the last call, else an empty text."""
        size = self._now()
        if size == self._size:
            return ""
        self._size = size
        lines = log_tail(self._path)
        return lines[-1].removeprefix("tuitrain: ").removesuffix(" …") if lines else ""

    def _now(self) -> int:
        try:
            return self._path.lstat().st_size
        except OSError:
            return 0
