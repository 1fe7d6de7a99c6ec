"""Makes standard input, output and error reliable: open, safe for a terminal, and checked before the program ends."""

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

from tuitrain.telemetry.units import plain_output

LENIENT = "tuitrain.lenient"
"""Name of the error handler that lets file names of any encoding through."""


def prepare() -> None:
    """Reopen streams that the parent process closed, and let standard output take any file name.

    The number of a closed descriptor would go to the next file that is opened: with `2>&-` that was the run's lock.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Gets the lowest free number, which is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    codecs.register_error(LENIENT, _lenient)
    was = sys.stdout
    if isinstance(was, io.TextIOWrapper):
        settings = _settings(was)
        sys.stdout = Output(was.detach(), **{**settings, "errors": LENIENT if was.errors == "strict" else was.errors})
        setattr(sys, "__stdout__", sys.stdout)  # noqa: B010 - declared final, and Textual reads it
    if isinstance(sys.stderr, io.TextIOWrapper):
        # sys.__stderr__ stays as it is: Textual controls the terminal through it.
        sys.stderr = Plain(sys.stderr.buffer, **_settings(sys.stderr))


def _settings(stream: io.TextIOWrapper) -> dict[str, Any]:
    return {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": stream.line_buffering,
            "write_through": stream.write_through}


def steering(stream: TextIO) -> TextIO:
    """Return the stream that passes escape sequences to the terminal that `stream` writes plain text to."""
    return sys.__stderr__ if isinstance(stream, Plain) and sys.__stderr__ is not None else stream


class OutputError(OSError):
    """Writing to standard output failed: a full disk, or a descriptor that is not writable."""


class Plain(io.TextIOWrapper):
    """A text stream that removes everything a terminal would obey, whatever the source of the text."""

    def __init__(self, buffer: Any, **settings: Any) -> None:
        super().__init__(buffer, **settings)
        self._terminal = self.isatty()

    def write(self, text: str) -> int:
        """Write the cleaned text; returns the length of the original."""
        super().write(plain_output(text, terminal=self._terminal))
        return len(text)


class Output(Plain):
    """Standard output, with errors that can be distinguished from those of other files."""

    def write(self, text: str) -> int:
        """Write text. Raises OutputError, or BrokenPipeError if the reader is gone."""
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None

    def flush(self) -> None:
        """Flush. Raises like `write`."""
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def silence() -> None:
    """Flush the streams and redirect those that fail to /dev/null, or Python would exit with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                devnull = os.open(os.devnull, os.O_WRONLY)
                os.dup2(devnull, number)
                os.close(devnull)
                stream.flush()


def _lenient(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode bytes of a file name as they were; a character that the encoding lacks becomes a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return (bytes([code - 0xDC00]) if 0xDC80 <= code < 0xDD00 else "?"), error.start + 1
