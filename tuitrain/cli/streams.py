"""Standard input, output and error as a program can rely on them: open, and checked before the program ends."""

import codecs
import contextlib
import io
import os
import sys
from typing import Any

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
        facts: dict[str, Any] = {"encoding": was.encoding, "line_buffering": was.line_buffering,
                                 "write_through": was.write_through,
                                 "errors": ANYWAY if was.errors == "strict" else was.errors}
        sys.stdout = Output(was.detach(), **facts)
        setattr(sys, "__stdout__", sys.stdout)  # noqa: B010 - declared final, and Textual reads it


class OutputError(OSError):
    """Standard output takes nothing: a full disk, a descriptor that is not for writing."""


class Output(io.TextIOWrapper):
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
