"""Standard input, output and error as a program can rely on them: open, and checked before the program ends."""

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

from tuitrain.telemetry.units import plain_output

ANYWAY = "tuitrain.anyway"


def prepare() -> None:
    """Reopen what the parent has closed, and make standard output take any file name.

    A closed descriptor would be given to the next file that is opened: with `2>&-` that was the run's lock.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    codecs.register_error(ANYWAY, _anyway)
    was = sys.stdout
    if isinstance(was, io.TextIOWrapper):
        settings = _settings(was)
        sys.stdout = Output(was.detach(), **{**settings, "errors": ANYWAY if was.errors == "strict" else was.errors})
        setattr(sys, "__stdout__", sys.stdout)  # noqa: B010 - declared final, and Textual reads it
    if isinstance(sys.stderr, io.TextIOWrapper):
        # sys.__stderr__ stays as it is: through it Textual steers the terminal.
        sys.stderr = Plain(sys.stderr.buffer, **_settings(sys.stderr))


def _settings(stream: io.TextIOWrapper) -> dict[str, Any]:
    return {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": stream.line_buffering,
            "write_through": stream.write_through}


def steering(stream: TextIO) -> TextIO:
    """The stream by which our own escape sequences reach the terminal that `stream` writes plain text to."""
    return sys.__stderr__ if isinstance(stream, Plain) and sys.__stderr__ is not None else stream


class OutputError(OSError):
    """Standard output takes nothing: a full disk, a descriptor that is not for writing."""


class Plain(io.TextIOWrapper):
    """Text for a person, from wherever it comes: nothing in it that a terminal obeys gets through."""

    def __init__(self, buffer: Any, **settings: Any) -> None:
        super().__init__(buffer, **settings)
        self._terminal = self.isatty()

    def write(self, text: str) -> int:
        """Write what is left of it; the length is that of the text as it came."""
        super().write(plain_output(text, terminal=self._terminal))
        return len(text)


class Output(Plain):
    """Standard output whose errors can be told from those of other files."""

    def write(self, text: str) -> int:
        """Raises OutputError, or BrokenPipeError where the reader is gone."""
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None

    def flush(self) -> None:
        """Raises as `write` does."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def silence() -> None:
    """Nothing more can fail: Python would complain at its end and exit with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, number)
                os.close(devnull)
                stream.flush()


def _anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """A file name's bytes go out as they came in; a character that the encoding has not becomes a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return (bytes([code - 0xDC00]) if 0xDC80 <= code < 0xDD00 else "?"), error.start + 1
