"""The one place that opens the cockpit: how a sitting ends when its terminal is gone."""

import errno
import signal
import termios
from asyncio import CancelledError
from pathlib import Path

import pytest

from tuitrain.cli.screen import Screen
from tuitrain.run.directory import RunDirectory
from tuitrain.ui.app import CockpitApp


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), termios.error(errno.EIO, "gone"), CancelledError()])
def test_what_textual_raises_once_its_terminal_is_gone_is_no_failure(
        error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(RunDirectory(tmp_path), lambda: pytest.fail("it never connects"), greets=False)
    awakened = signal.getsignal(signal.SIGCONT)

    def run(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGHUP)
        raise error

    monkeypatch.setattr(CockpitApp, "run", run)
    try:
        screen.run()
    finally:
        signal.signal(signal.SIGCONT, awakened)
    assert screen.exit_code == 128 + signal.SIGHUP
